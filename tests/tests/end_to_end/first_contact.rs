//! An agent that is there before the control plane.

use lapin::ExchangeKind;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use patchwave_schemas::topology::REPORTS_EXCHANGE;
use patchwave_tests::fleet::{Agents, Events, Role, System, Urls, eventually};

/// While a broker is set up for the first time there is a moment in which the exchange of reports
/// stands and no queue is behind it. A hello that was confirmed then would be lost, and its node
/// unknown until it connects again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_that_no_queue_takes_is_said_again() {
    let urls = Urls::shared("first-contact").unwrap();
    let client = Events::connect(&urls.bus).await.unwrap();
    let channel = client.connection().create_channel().await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(REPORTS_EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default())
        .await
        .unwrap();

    let directory = tempfile::tempdir().unwrap();
    let node = format!("mi-{:0>17}", "e");
    let mut agent = Agents::real_at(&urls.bus, directory.path(), &node, &["--tag", "Kind=early"]).unwrap();
    eventually("its hello came back", async || agent.program().log().contains("refused report").then_some(())).await;

    let system = System::start(urls, &[Role::Up]).await.unwrap();
    assert_eq!(system.online(1, "Kind=early").await, [node]);
}
