//! Changes of invocations: any number at once, any text in their reports.

use std::collections::BTreeSet;

use patchwave_engine::invocation::{Ending, State};
use patchwave_platform::store::invocations::Change;
use patchwave_schemas::CommandId;
use patchwave_schemas::report::{InvocationFinished, Outcome, StepResult};

use crate::fixtures::{add_command, address, apply, at, change, connect, hello, invocation, node, release, states};
use crate::place::Place;

contract! {
    no_change_at_all_is_no_error,
    one_change_touches_one_invocation,
    a_thousand_changes_are_stored_together,
    reports_come_back_letter_for_letter,
    a_late_report_keeps_the_end_and_is_flagged,
    a_change_without_a_report_keeps_the_stored_one,
    changes_of_several_commands_are_stored_together,
    states_of_unknown_invocations_are_absent,
    open_invocations_are_what_a_returning_node_is_told_again,
    invocation_lists_are_paged_by_node,
}

fn report(command_id: CommandId, number: usize, stdout: &str) -> InvocationFinished {
    let step = StepResult {
        name: "step".to_owned(),
        outcome: Outcome::Failed,
        exit_code: -1,
        started_at: at(1),
        finished_at: at(2),
        stdout: stdout.to_owned(),
        stderr: String::new(),
    };
    InvocationFinished {
        command_id,
        node_id: node(number),
        outcome: Outcome::Failed,
        reason: "it's \"broken\"".to_owned(),
        started_at: at(1),
        finished_at: at(2),
        steps: vec![step],
    }
}

fn reported(command_id: CommandId, number: usize, stdout: &str) -> Change {
    let report = Some(report(command_id, number, stdout));
    Change { report, ..change(command_id, number, State::Ended(Ending::Failed)) }
}

async fn no_change_at_all_is_no_error(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 2).await;
    apply(&store, &[], at(1)).await;
    assert_eq!(states(&store, command).await, [State::Pending; 2]);
}

async fn one_change_touches_one_invocation(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 3).await;
    release(&store, command, 3).await;
    apply(&store, &[reported(command, 1, "out")], at(9)).await;
    assert_eq!(states(&store, command).await, [State::Released, State::Ended(Ending::Failed), State::Released]);
    let one = invocation(&store, command, 1).await;
    assert_eq!((one.finished_at, one.late_report), (Some(at(9)), false));
    assert_eq!(one.report, Some(report(command, 1, "out")));
    assert_eq!(invocation(&store, command, 0).await.report, None);
}

async fn a_thousand_changes_are_stored_together(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 1_001).await;
    let changes: Vec<_> = (0..1_000).rev().map(|number| reported(command, number, &number.to_string())).collect();
    apply(&store, &changes, at(9)).await;
    let all = store.invocations_of(command, "", 2_000).await.unwrap();
    assert_eq!(all.len(), 1_001);
    for (number, one) in all.iter().enumerate().take(1_000) {
        assert_eq!(one.report, Some(report(command, number, &number.to_string())));
    }
    assert_eq!(all[1_000].state, State::Pending);
}

async fn reports_come_back_letter_for_letter(place: Place) {
    let store = place.open().await;
    let texts = [
        "",
        "null",
        "it's; DROP TABLE invocations; --",
        r#""quoted" \ \\ \n \u0041 {"a":[1,{"b":null}]}"#,
        "žluťoučký kůň 🐎 \u{202e} \u{ffff} e\u{301}",
        "\u{1}\t\r\n\u{1b}[31m%_$1?:name",
        // Escaped in JSON, so even this is text that PostgreSQL can keep.
        "binary \0 output",
    ];
    let command = add_command(&store, "a", texts.len()).await;
    let changes: Vec<_> = texts.iter().enumerate().map(|(number, text)| reported(command, number, text)).collect();
    apply(&store, &changes, at(9)).await;
    for (number, text) in texts.iter().enumerate() {
        assert_eq!(invocation(&store, command, number).await.report, Some(report(command, number, text)), "{text:?}");
    }
}

async fn a_late_report_keeps_the_end_and_is_flagged(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 1).await;
    let timed_out = State::Ended(Ending::DeliveryTimedOut);
    apply(&store, &[change(command, 0, timed_out)], at(9)).await;
    let late = Change { state: timed_out, late: true, ..reported(command, 0, "late") };
    apply(&store, &[late], at(99)).await;
    let one = invocation(&store, command, 0).await;
    assert_eq!((one.state, one.finished_at, one.late_report), (timed_out, Some(at(9)), true));
    assert_eq!(one.report, Some(report(command, 0, "late")));
}

async fn a_change_without_a_report_keeps_the_stored_one(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 1).await;
    apply(&store, &[Change { late: true, ..reported(command, 0, "kept") }], at(9)).await;
    apply(&store, &[change(command, 0, State::Ended(Ending::Failed))], at(10)).await;
    let one = invocation(&store, command, 0).await;
    assert_eq!((one.report, one.late_report, one.finished_at), (Some(report(command, 0, "kept")), true, Some(at(9))));
}

async fn changes_of_several_commands_are_stored_together(place: Place) {
    let store = place.open().await;
    let (one, two) = (add_command(&store, "one", 2).await, add_command(&store, "two", 2).await);
    apply(&store, &[change(two, 0, State::Running), change(one, 1, State::Waiting)], at(1)).await;
    assert_eq!(states(&store, one).await, [State::Pending, State::Waiting]);
    assert_eq!(states(&store, two).await, [State::Running, State::Pending]);
}

async fn states_of_unknown_invocations_are_absent(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 3).await;
    release(&store, command, 1).await;
    let unknown = CommandId::derived("unknown");
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.invocation_states(&[]).await.unwrap(), []);
    assert_eq!(tx.invocation_states(&[(unknown, node(0)), (command, node(9))]).await.unwrap(), []);
    let mut found = tx.invocation_states(&[(command, node(2)), (unknown, node(2)), (command, node(0))]).await.unwrap();
    found.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(found, [(command, node(0), State::Released, 1), (command, node(2), State::Pending, 0)]);
    assert_eq!(store.invocation(unknown, &node(0)).await.unwrap(), None);
}

async fn open_invocations_are_what_a_returning_node_is_told_again(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(0, "a", &[])], at(0)).await;
    let states = [
        ("released", State::Released),
        ("waiting", State::Waiting),
        ("running", State::Running),
        ("cancelling", State::Cancelling),
        ("pending", State::Pending),
        ("ready", State::Ready),
        ("ended", State::Ended(Ending::Success)),
    ];
    let mut commands = Vec::new();
    for (cause, state) in states {
        let command = add_command(&store, cause, 2).await;
        apply(&store, &[change(command, 0, state)], at(1)).await;
        commands.push(command);
    }
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.open_invocations(&[], &[node(0)]).await.unwrap(), []);
    assert_eq!(tx.open_invocations(&commands, &[]).await.unwrap(), []);
    assert_eq!(tx.open_invocations(&commands, &[node(7)]).await.unwrap(), []);
    let found = tx.open_invocations(&commands, &[node(7), node(0)]).await.unwrap();
    assert!(found.iter().all(|(_, one)| one.node_id == node(0) && one.address == Some(address(0, "a"))));
    let open: BTreeSet<_> = found.iter().map(|(command, one)| (*command, one.state.to_string())).collect();
    assert_eq!(open.len(), found.len());
    let expected = states.iter().take(4).map(|(cause, state)| (CommandId::derived(cause), state.to_string()));
    assert_eq!(open, expected.collect());
    // Only what was asked about.
    assert_eq!(tx.open_invocations(&commands[1..2], &[node(0)]).await.unwrap().len(), 1);
}

async fn invocation_lists_are_paged_by_node(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 5).await;
    let page = store.invocations_of(command, node(1).as_str(), 2).await.unwrap();
    assert_eq!(page.iter().map(|one| one.node_id.clone()).collect::<Vec<_>>(), [node(2), node(3)]);
    assert_eq!(store.invocations_of(command, node(4).as_str(), 2).await.unwrap(), []);
    let in_state = store.invocations_in(command, &[page[0].state], node(1).as_str(), 1).await.unwrap();
    assert_eq!(in_state, page[..1]);
    assert_eq!(store.invocations_in(command, &[State::Ready], "", 9).await.unwrap(), []);
}
