//! The transition table of waves.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("an instant")
}

fn wave(targets: u32) -> Wave {
    Wave {
        name: format!("of {targets}"),
        targets,
        held: 0,
        bake_seconds: 0,
        min_success_percent: None,
        max_failed: None,
        approval_within_seconds: None,
    }
}

fn planned(first: Wave) -> Waves {
    Waves::plan([first, wave(20), wave(70)]).expect("several waves")
}

fn tally(success: u32, failed: u32) -> Tally {
    Tally { success, failed, ..Tally::default() }
}

fn answer(id: &str, approve: bool) -> Event {
    Event::Answer { id: id.to_owned(), approve, by: "alice".to_owned(), tally: tally(10, 0) }
}

fn check(waves: &Waves, event: &Event, now: i64, effect: Option<Effect>) -> Waves {
    let (next, found) = waves.step(event, at(now));
    assert_eq!(found, effect, "{waves:?} × {event:?} at {now}");
    next
}

#[test]
fn only_the_first_wave_is_open_and_empty_ones_are_left_out() {
    let waves = Waves::plan([wave(0), wave(10), wave(0), wave(5)]).expect("two waves");
    assert_eq!((waves.waves.len(), waves.held(), waves.first_held()), (2, 5, 10));
    assert_eq!([0, 9, 10, 14].map(|ordinal| waves.wave_of(ordinal)), [0, 0, 1, 1]);
    assert_eq!(Waves::plan([wave(7), wave(0)]), None, "one wave is no cut");
}

#[test]
fn without_a_gate_the_next_wave_follows_at_once() {
    let waves = check(&planned(wave(10)), &Event::Over(tally(0, 10)), 0, Some(Effect::Open(20)));
    let waves = check(&waves, &Event::Over(tally(20, 10)), 1, Some(Effect::Open(70)));
    assert_eq!(waves.held(), 0);
    check(&waves, &Event::Over(tally(90, 10)), 2, None);
}

#[test]
fn gates_judge_the_wave_alone_by_rate_and_count() {
    for (least, most, success, failed, effect) in [
        (Some(90), None, 9, 1, Effect::Open(20)),
        (Some(91), None, 9, 1, Effect::Stop),
        (Some(0), None, 0, 10, Effect::Open(20)),
        (Some(100), None, 10, 0, Effect::Open(20)),
        (None, Some(1), 9, 1, Effect::Open(20)),
        (None, Some(0), 9, 1, Effect::Stop),
        (Some(50), Some(0), 9, 1, Effect::Stop),
    ] {
        let first = Wave { min_success_percent: least, max_failed: most, ..wave(10) };
        check(&planned(first), &Event::Over(tally(success, failed)), 0, Some(effect));
    }
    // What failed in the first wave is not counted again in the second.
    let gate = Wave { max_failed: Some(1), ..wave(20) };
    let waves = Waves::plan([wave(10), gate, wave(70)]).expect("waves");
    let waves = check(&waves, &Event::Over(tally(5, 5)), 0, Some(Effect::Open(20)));
    let stopped = check(&waves, &Event::Over(tally(23, 7)), 1, Some(Effect::Stop));
    assert_eq!(stopped.stopped(), Some("2 nodes of of 20 failed; its gate allows 1"));
    check(&waves, &Event::Over(tally(24, 6)), 1, Some(Effect::Open(70)));
}

#[test]
fn what_was_cancelled_does_not_lower_the_rate() {
    let waves = planned(Wave { min_success_percent: Some(100), ..wave(10) });
    let cancelled = Tally { success: 1, cancelled: 9, ..Tally::default() };
    check(&waves, &Event::Over(cancelled), 0, Some(Effect::Open(20)));
    let unreachable = Tally { success: 9, delivery_timed_out: 1, ..Tally::default() };
    check(&waves, &Event::Over(unreachable), 0, Some(Effect::Stop));
}

#[test]
fn bake_time_counts_from_the_end_of_the_wave() {
    let waves = planned(Wave { bake_seconds: 60, ..wave(10) });
    let waves = check(&waves, &Event::Over(tally(10, 0)), 100, Some(Effect::Waits));
    assert_eq!(waves.due_at(), Some(at(160)));
    let again = check(&waves, &Event::Over(tally(10, 0)), 130, None);
    assert_eq!(again.due_at(), Some(at(160)), "a second look does not begin it again");
    check(&waves, &Event::Tick(tally(10, 0)), 159, None);
    check(&waves, &Event::Tick(tally(10, 0)), 160, Some(Effect::Open(20)));
}

#[test]
fn approval_is_waited_for_until_its_deadline() {
    let gate = Wave { bake_seconds: 60, approval_within_seconds: Some(300), ..wave(10) };
    let baking = check(&planned(gate), &Event::Over(tally(10, 0)), 0, Some(Effect::Waits));
    check(&baking, &answer("early", true), 30, None);
    let waits = check(&baking, &Event::Tick(tally(10, 0)), 60, Some(Effect::Waits));
    assert_eq!(waits.stage, Stage::AwaitingApproval { until: at(360) });
    let open = check(&waits, &answer("a", true), 359, Some(Effect::Open(20)));
    assert_eq!((open.current, &open.stage), (1, &Stage::Open));
    let stopped = check(&waits, &Event::Tick(tally(10, 0)), 360, Some(Effect::Stop));
    assert_eq!(stopped.stopped(), Some("nobody approved what follows of 10 in time"));
    check(&waits, &answer("late", true), 360, None);
}

#[test]
fn rejection_stops_also_while_it_bakes() {
    let gate = Wave { bake_seconds: 60, approval_within_seconds: Some(300), ..wave(10) };
    let baking = check(&planned(gate), &Event::Over(tally(10, 0)), 0, Some(Effect::Waits));
    let waits = check(&baking, &Event::Tick(tally(10, 0)), 60, Some(Effect::Waits));
    for state in [&baking, &waits] {
        let stopped = check(state, &answer("no", false), 61, Some(Effect::Stop));
        assert_eq!(stopped.stopped(), Some("alice rejected what follows of 10"));
        check(&stopped, &answer("yes", true), 62, None);
    }
}

#[test]
fn an_answer_that_comes_twice_opens_one_wave() {
    let gate = || Wave { approval_within_seconds: Some(300), ..wave(10) };
    let waves = Waves::plan([gate(), gate(), wave(5)]).expect("waves");
    let waits = check(&waves, &Event::Over(tally(10, 0)), 0, Some(Effect::Waits));
    let open = check(&waits, &answer("a", true), 1, Some(Effect::Open(10)));
    let waits = check(&open, &Event::Over(tally(20, 0)), 2, Some(Effect::Waits));
    check(&waits, &answer("a", true), 3, None);
    check(&waits, &answer("b", true), 4, Some(Effect::Open(5)));
}

#[test]
fn a_wave_whose_nodes_were_all_cancelled_is_passed_over() {
    let mut waves = planned(wave(10));
    for ordinal in 10..30 {
        waves.leave(ordinal);
    }
    assert_eq!(waves.held(), 70);
    let waves = check(&waves, &Event::Over(tally(10, 0)), 0, Some(Effect::Open(70)));
    assert_eq!(waves.current, 2);
}
