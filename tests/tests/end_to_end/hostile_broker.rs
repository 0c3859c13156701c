//! Somebody has the broker: reads everything, and publishes what they like to a node's queue. Only
//! what the control plane signed for this node, this invocation and this time is run, and once.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::bus::amqp::AmqpBus;
use patchwave_platform::bus::{Bus, Outgoing, Published, Route};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::{Signature, Signer, SigningKey};
use patchwave_platform::store::Store;
use patchwave_schemas::command::{Action, CancelInvocation, RenderedDocument, RunInvocation, Step};
use patchwave_schemas::report::NodeConnected;
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, CommandId, Message, NodeId};
use patchwave_tests::fleet::{Agents, Urls, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

/// A control plane's keys, without the rest of it.
async fn keys(directory: &Path, name: &str) -> (Arc<SigningKey>, String) {
    let store = Store::open(&format!("sqlite://{}", directory.join(name).display())).await.unwrap();
    let signer = Signer::new(store.clone(), Arc::new(MasterKey::ephemeral().unwrap()));
    let key = signer.key(Timestamp::now()).await.unwrap();
    let public = store.signing_keys().await.unwrap().remove(0).public_key;
    (key, public)
}

/// A command that notes that it ran.
fn run(node: &NodeId, runs: &Path, name: &str) -> RunInvocation {
    script(node, format!("echo {name} >> {}", runs.display()))
}

/// A command that notes that it began, takes its time, and notes that it ran.
fn slow(node: &NodeId, runs: &Path, name: &str, seconds: u32) -> RunInvocation {
    let runs = runs.display();
    script(node, format!("echo {name} began >> {runs}; sleep {seconds}; echo {name} >> {runs}"))
}

fn script(node: &NodeId, command: String) -> RunInvocation {
    let now = Timestamp::now();
    RunInvocation {
        command_id: CommandId::random(),
        node_id: node.clone(),
        not_before: now - SignedDuration::from_mins(1),
        not_after: now + SignedDuration::from_mins(10),
        document: RenderedDocument {
            name: "AWS-RunShellScript".to_owned(),
            version: "1".to_owned(),
            steps: vec![Step {
                name: "note".to_owned(),
                timeout_seconds: 60,
                action: Action::RunShellScript {
                    commands: vec![command],
                    working_directory: None,
                    environment: Default::default(),
                },
                phase: None,
            }],
        },
        baseline: None,
    }
}

/// The message as the control plane makes it: `data` goes out exactly as it is signed.
fn message(message_type: &str, data: &str, key: Option<(&str, Signature)>) -> Vec<u8> {
    let (id, now) = (Uuid::new_v4(), Timestamp::now());
    let signature = key.map_or_else(String::new, |(key_id, Signature { signature, path })| {
        let path = path.map_or_else(String::new, |path| format!(r#""signaturepath":"{path}","#));
        format!(r#""keyid":"{key_id}","signature":"{signature}",{path}"#)
    });
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/patchwave/dispatcher","type":"{message_type}","time":"{now}",{signature}"data":{data}}}"#
    )
    .into_bytes()
}

fn signed<M: Message>(key: &SigningKey, data: &M) -> Vec<u8> {
    let data = serde_json::to_string(data).unwrap();
    message(M::TYPE, &data, Some((key.key_id(), lone(key, M::TYPE, &data))))
}

/// The signature of a message that is signed alone.
fn lone(key: &SigningKey, message_type: &str, data: &str) -> Signature {
    key.sign(&[(message_type, data.as_bytes())]).remove(0)
}

/// The same message with its payload changed behind the signature's back.
fn altered(body: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(body).unwrap();
    change(&mut event["data"]);
    event.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_broker_makes_no_node_run_anything() {
    let urls = Urls::shared("hostile-broker").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (key, public) = keys(directory.path(), "own.db").await;
    let (thief, _) = keys(directory.path(), "thief.db").await;
    let (node, other) = (NodeId::from_bits(0xa), NodeId::from_bits(0xb));

    let bus = AmqpBus::connect(&urls.bus, "hostile").await.unwrap();
    let mut hellos = bus.consume(WorkQueue::Dispatcher).await.unwrap();
    let trusted = format!("{}={public}", key.key_id());
    let mut agent =
        Agents::trusting(&urls.bus, directory.path(), node.as_str(), &["--verification-key", &trusted]).unwrap();
    let mut hello = async || {
        let hello = tokio::time::timeout(Duration::from_secs(60), hellos.next_batch(1)).await.unwrap().unwrap();
        CloudEvent::<NodeConnected>::from_bytes(&hello[0].body).unwrap().data.address
    };
    let address = Mutex::new(hello().await);
    let send = async |body: Vec<u8>| {
        let outgoing = Outgoing {
            route: Route::Node { address: address.lock().unwrap().clone() },
            message_id: Uuid::new_v4(),
            message_type: RunInvocation::TYPE.to_owned(),
            body,
        };
        assert_eq!(bus.publish(&[outgoing]).await.unwrap(), [Published::Confirmed]);
    };

    let runs = directory.path().join("runs");
    let genuine = signed(&key, &run(&node, &runs, "genuine"));
    send(genuine.clone()).await;
    let noted = async |name: &str| {
        eventually(&format!("`{name}` is noted"), async || {
            std::fs::read_to_string(&runs).ok().filter(|text| text.lines().any(|line| line == name))
        })
        .await
    };
    noted("genuine").await;

    let now = Timestamp::now();
    let hour = SignedDuration::from_hours(1);
    let later = RunInvocation { not_before: now + hour, not_after: now + hour * 2, ..run(&node, &runs, "early") };
    let earlier = RunInvocation { not_before: now - hour * 2, not_after: now - hour, ..run(&node, &runs, "late") };
    let elsewhere = signed(&key, &run(&other, &runs, "redirected"));
    let unsigned_data = serde_json::to_string(&run(&node, &runs, "unsigned")).unwrap();
    let forged_data = serde_json::to_string(&run(&node, &runs, "forged")).unwrap();
    let forged_signature = lone(&thief, RunInvocation::TYPE, &forged_data);
    let retyped_data = serde_json::to_string(&run(&node, &runs, "retyped")).unwrap();
    let retyped_signature = lone(&key, CancelInvocation::TYPE, &retyped_data);
    let (own, others) = (run(&node, &runs, "signed with another"), run(&other, &runs, "another's"));
    let (own, others) = (serde_json::to_string(&own).unwrap(), serde_json::to_string(&others).unwrap());
    let batch = key.sign(&[(RunInvocation::TYPE, own.as_bytes()), (RunInvocation::TYPE, others.as_bytes())]);
    let of_batch =
        |data: &str, signature: &Signature| message(RunInvocation::TYPE, data, Some((key.key_id(), signature.clone())));
    send(of_batch(&own, &batch[0])).await;
    let cases = [
        ("replayed", genuine.clone()),
        ("unsigned", message(RunInvocation::TYPE, &unsigned_data, None)),
        ("signed by a stranger", signed(&thief, &run(&node, &runs, "stranger"))),
        (
            "signed by a stranger in our name",
            message(RunInvocation::TYPE, &forged_data, Some((key.key_id(), forged_signature))),
        ),
        (
            "signed for another purpose",
            message(RunInvocation::TYPE, &retyped_data, Some((key.key_id(), retyped_signature))),
        ),
        ("altered script", {
            let script = format!("echo altered >> {}", runs.display());
            altered(&signed(&key, &run(&node, &runs, "x")), |data| {
                data["document"]["steps"][0]["action"]["commands"] = json!([script]);
            })
        }),
        ("a new name for a command that ran", {
            altered(&genuine, |data| data["command_id"] = json!(CommandId::random()))
        }),
        ("redirected", elsewhere.clone()),
        ("redirected and readdressed", altered(&elsewhere, |data| data["node_id"] = json!(node))),
        ("redirected out of a batch", of_batch(&others, &batch[1])),
        ("added to a batch", of_batch(&unsigned_data, &batch[0])),
        ("alone in place of its batch", of_batch(&unsigned_data, &Signature { path: None, ..batch[0].clone() })),
        ("early", signed(&key, &later)),
        ("late", signed(&key, &earlier)),
        ("late and prolonged", { altered(&signed(&key, &earlier), |data| data["not_after"] = json!(now + hour)) }),
        ("no message at all", b"\xff{\0".to_vec()),
    ];
    for (_name, body) in cases {
        send(body).await;
    }
    // Messages of one queue are taken in order: when the last one ran, the others have been judged.
    send(signed(&key, &run(&node, &runs, "last"))).await;
    let ran = noted("last").await;
    assert_eq!(ran.lines().collect::<Vec<_>>(), ["genuine", "signed with another", "last"]);

    // Cancelling is a command, too.
    let lasting = slow(&node, &runs, "lasting", 3);
    send(signed(&key, &lasting)).await;
    noted("lasting began").await;
    let cancel = |node: &NodeId, command_id| CancelInvocation { command_id, node_id: node.clone() };
    let (own, others) = (cancel(&node, lasting.command_id), cancel(&other, lasting.command_id));
    let data = serde_json::to_string(&own).unwrap();
    for (_name, body) in [
        ("unsigned", message(CancelInvocation::TYPE, &data, None)),
        ("signed by a stranger", signed(&thief, &own)),
        (
            "signed by a stranger in our name",
            message(CancelInvocation::TYPE, &data, Some((key.key_id(), lone(&thief, CancelInvocation::TYPE, &data)))),
        ),
        (
            "signed for another purpose",
            message(CancelInvocation::TYPE, &data, Some((key.key_id(), lone(&key, RunInvocation::TYPE, &data)))),
        ),
        ("of another command", {
            altered(&signed(&key, &cancel(&node, CommandId::random())), |data| {
                data["command_id"] = json!(lasting.command_id);
            })
        }),
        ("redirected", signed(&key, &others)),
        ("redirected and readdressed", altered(&signed(&key, &others), |data| data["node_id"] = json!(node))),
    ] {
        send(body).await;
    }
    noted("lasting").await;

    // A genuine one ends its command, and that alone, however often it and the command come.
    let doomed = slow(&node, &runs, "doomed", 50);
    let (doomed, ended) = (signed(&key, &doomed), signed(&key, &cancel(&node, doomed.command_id)));
    send(doomed.clone()).await;
    noted("doomed began").await;
    for body in [&ended, &ended, &doomed] {
        send(body.clone()).await;
    }
    let after = slow(&node, &runs, "after", 2);
    send(signed(&key, &after)).await;
    noted("after began").await;
    send(ended.clone()).await;
    noted("after").await;

    // Neither does a start make it forget.
    agent.program().kill().unwrap();
    agent.program().restart().unwrap();
    let again = hello().await;
    *address.lock().unwrap() = again;
    for body in [&genuine, &doomed, &ended, &elsewhere] {
        send(body.clone()).await;
    }
    send(signed(&key, &run(&node, &runs, "restarted"))).await;
    let ran = noted("restarted").await;
    let expected = [
        ["genuine", "signed with another", "last"].as_slice(),
        &["lasting began", "lasting", "doomed began", "after began", "after", "restarted"],
    ];
    assert_eq!(ran.lines().collect::<Vec<_>>(), expected.concat());
    bus.close().await;
}
