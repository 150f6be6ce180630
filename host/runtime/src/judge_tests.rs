//! The failure policy against plugins that fail in every way, as plain functions.

use super::*;
use crate::errors::RefusalKind;

/// A plugin that fails on some alerts.
struct Fake<F> {
    fails: F,
    calls: Vec<Range<usize>>,
}

impl<F: FnMut(Range<usize>) -> Result<(), CallError> + Send> JudgeCall for Fake<F> {
    type Answer = Range<usize>;

    async fn call(&mut self, range: Range<usize>) -> Result<Range<usize>, CallError> {
        self.calls.push(range.clone());
        (self.fails)(range.clone()).map(|()| range)
    }
}

fn trap() -> CallError {
    CallError::Trap("unreachable".into())
}

async fn run(
    alerts: usize,
    limits: &Limits,
    fails: impl FnMut(Range<usize>) -> Result<(), CallError> + Send,
) -> (Judged<Range<usize>>, usize) {
    let mut fake = Fake {
        fails,
        calls: Vec::new(),
    };
    let judged = judge(&mut fake, alerts, limits, Patience::Short).await;
    (judged, fake.calls.len())
}

fn positions(judged: &Judged<Range<usize>>) -> Vec<usize> {
    judged.failed.iter().map(|(alert, _)| *alert).collect()
}

#[tokio::test]
async fn a_good_batch_is_one_call_and_an_empty_one_none() {
    let (judged, calls) = run(10, &Limits::default(), |_| Ok(())).await;
    assert_eq!((judged.answers, calls), (vec![(0, 0..10)], 1));
    assert_eq!(run(0, &Limits::default(), |_| Err(trap())).await.1, 0);
}

#[tokio::test]
async fn a_trap_that_does_not_come_again_costs_nothing() {
    let mut first = true;
    let fails = |_| {
        if std::mem::take(&mut first) {
            Err(trap())
        } else {
            Ok(())
        }
    };
    let (judged, calls) = run(10, &Limits::default(), fails).await;
    assert_eq!((judged.answers, judged.failed, calls), (vec![(0, 0..10)], vec![], 2));
}

#[tokio::test]
async fn every_poison_alert_is_found_wherever_it_is() {
    for alerts in [1, 2, 3, 7, 64, 512] {
        for poison in 0..alerts {
            let (judged, calls) = run(alerts, &Limits::default(), |range| {
                if range.contains(&poison) { Err(trap()) } else { Ok(()) }
            })
            .await;
            assert_eq!(positions(&judged), [poison], "{poison} of {alerts}");
            assert!(!judged.trouble.gave_up && calls <= 2 + 2 * 9);
            let answered: usize = judged.answers.iter().map(|(_, range)| range.len()).sum();
            assert_eq!(answered, alerts - 1);
            assert!(judged.answers.is_sorted_by_key(|(start, _)| *start));
        }
    }
}

#[tokio::test]
async fn an_answered_error_is_isolated_without_a_second_try() {
    let refused = |range: Range<usize>| match range.contains(&1) {
        true => Err(refused(RefusalKind::Invalid, "x")),
        false => Ok(()),
    };
    let (judged, calls) = run(2, &Limits::default(), refused).await;
    assert_eq!(
        (judged.failed, calls),
        (vec![(1, "answered with an error: invalid: x".to_owned())], 3)
    );
}

#[tokio::test]
async fn a_plugin_that_always_fails_is_given_up_and_every_alert_reported_once() {
    let limits = Limits {
        failed_calls_per_slice: 8,
        ..Limits::default()
    };
    let (judged, calls) = run(512, &limits, |_| Err(trap())).await;
    assert_eq!(calls, 8);
    assert!(judged.trouble.gave_up && judged.answers.is_empty());
    assert_eq!(positions(&judged), (0..512).collect::<Vec<_>>());
    assert_eq!(judged.failed[511].1, "gave up on the batch after: trapped: unreachable");
}

#[tokio::test]
async fn time_spent_on_failures_is_limited_too() {
    let limits = Limits {
        failure_time_per_slice: Duration::from_millis(20),
        ..Limits::default()
    };
    let slow = |_| {
        std::thread::sleep(Duration::from_millis(15));
        Err(trap())
    };
    let (judged, calls) = run(512, &limits, slow).await;
    assert!(calls <= 2 && judged.trouble.gave_up);
}

#[tokio::test]
async fn what_is_not_about_the_alerts_fails_all_of_them_at_once() {
    let kinds = [
        RefusalKind::Denied,
        RefusalKind::Quota,
        RefusalKind::Unavailable,
        RefusalKind::Retry,
    ];
    for kind in kinds {
        let (judged, calls) = run(512, &Limits::default(), |_| Err(refused(kind, "the disk"))).await;
        assert_eq!((calls, positions(&judged).len()), (1, 512), "{kind:?}");
    }
    let again = CallError::Refused {
        kind: RefusalKind::Retry,
        text: String::new(),
        after: Some(Duration::from_millis(100)),
    };
    let (judged, _) = run(2, &Limits::default(), |_| Err(again.clone())).await;
    assert_eq!(judged.failed[1].1, "answered with an error: try again after 100 ms");
    assert_eq!(judged.trouble.after, Some(Duration::from_millis(100)));
    let mut broken = false;
    let (judged, calls) = run(512, &Limits::default(), |_| {
        match std::mem::replace(&mut broken, true) {
            false => Err(trap()),
            true => Err(CallError::NoInstance {
                cause: "trapped".into(),
            }),
        }
    })
    .await;
    assert_eq!(
        (calls, positions(&judged).len()),
        (2, 512),
        "without a copy nothing is tried"
    );
}

#[tokio::test]
async fn a_time_out_is_tried_again_with_a_quarter_of_the_alerts() {
    let slow = |range: Range<usize>| match range.len() > 128 {
        true => Err(CallError::CpuTime {
            limit: Duration::from_secs(1),
        }),
        false => Ok(()),
    };
    let (judged, calls) = run(512, &Limits::default(), slow).await;
    assert_eq!((calls, judged.failed.len()), (5, 0), "slowness alone loses nothing");
    assert!(judged.answers.is_sorted_by_key(|(start, _)| *start));
    let hangs = |range: Range<usize>| match range.contains(&300) {
        true => Err(CallError::CpuTime {
            limit: Duration::from_secs(1),
        }),
        false => Ok(()),
    };
    let (judged, calls) = run(512, &Limits::default(), hangs).await;
    assert_eq!(positions(&judged), [300]);
    assert!(calls <= 1 + 4 * 5, "{calls}");
}

#[tokio::test]
async fn too_much_for_one_answer_is_asked_for_in_halves() {
    let limit = 100;
    let much = |range: Range<usize>| match range.len() > limit {
        true => Err(CallError::TooMuchAnswered { limit }),
        false => Ok(()),
    };
    let (judged, calls) = run(400, &Limits::default(), much).await;
    assert_eq!((calls, judged.failed.len()), (7, 0));
}

#[tokio::test]
async fn what_evaluates_rules_is_not_given_up_for_being_slow() {
    let limits = Limits {
        failure_time_per_slice: Duration::from_millis(1),
        ..Limits::default()
    };
    let slow = |range: Range<usize>| {
        std::thread::sleep(Duration::from_millis(2));
        match range.contains(&5) {
            true => Err(CallError::CpuTime {
                limit: Duration::from_millis(2),
            }),
            false => Ok(()),
        }
    };
    let (judged, _) = run(64, &limits, slow).await;
    assert!(judged.trouble.gave_up, "one that may be missed is");
    let mut fake = Fake {
        fails: slow,
        calls: Vec::new(),
    };
    let judged = judge(&mut fake, 64, &limits, Patience::Long).await;
    assert_eq!((positions(&judged), judged.trouble.gave_up), (vec![5], false));
}

fn refused(kind: RefusalKind, text: &str) -> CallError {
    CallError::Refused {
        kind,
        text: text.to_owned(),
        after: None,
    }
}

fn gave_up() -> Trouble {
    Trouble {
        gave_up: true,
        ..Trouble::default()
    }
}

fn hung() -> Trouble {
    Trouble {
        time: Duration::from_secs(1),
        ..Trouble::default()
    }
}

#[test]
fn strikes_pause_for_twice_as_long_each_time() {
    let limits = Limits::default();
    let (mut strikes, start) = (Strikes::default(), Instant::now());
    let count = |strikes: &mut Strikes, trouble: &Trouble| strikes.count(trouble, start, &limits, Patience::Short);
    let pauses_until = |strikes: &Strikes, seconds: u64| {
        let end = start + Duration::from_secs(seconds);
        strikes.is_pausing(end - Duration::from_millis(1)) && !strikes.is_pausing(end)
    };
    count(&mut strikes, &gave_up());
    count(&mut strikes, &gave_up());
    assert!(!strikes.is_pausing(start));
    count(&mut strikes, &gave_up());
    assert!(pauses_until(&strikes, 1));
    count(&mut strikes, &gave_up());
    assert!(pauses_until(&strikes, 2));
    for _ in 0..10 {
        count(&mut strikes, &gave_up());
    }
    assert!(pauses_until(&strikes, 60));
}

#[test]
fn the_first_second_spent_on_failures_is_followed_by_a_pause() {
    let limits = Limits::default();
    let (mut strikes, start) = (Strikes::default(), Instant::now());
    strikes.count(&hung(), start, &limits, Patience::Short);
    assert!(strikes.is_pausing(start));
    let mut strikes = Strikes::default();
    strikes.count(&hung(), start, &limits, Patience::Long);
    assert!(!strikes.is_pausing(start), "what evaluates rules goes on");
}

#[test]
fn a_plugin_that_hangs_on_single_alerts_over_many_batches_is_left_alone_for_longer_and_longer() {
    let limits = Limits::default();
    let (mut strikes, mut now) = (Strikes::default(), Instant::now());
    let mut hung_seconds = 0;
    for second in 0..600 {
        now += Duration::from_secs(1);
        if strikes.is_pausing(now) {
            continue;
        }
        // Alerts that go well in between do not make up for it.
        let hangs = second % 2 == 0;
        let trouble = if hangs { hung() } else { Trouble::default() };
        hung_seconds += u64::from(hangs);
        strikes.count(&trouble, now, &limits, Patience::Short);
    }
    assert!(hung_seconds <= 20, "{hung_seconds} of 600 seconds");
    // Long after, one failure is a first one again.
    now += Duration::from_secs(1_000);
    strikes.count(&Trouble::default(), now, &limits, Patience::Short);
    strikes.count(&hung(), now, &limits, Patience::Short);
    assert!(strikes.is_pausing(now) && !strikes.is_pausing(now + Duration::from_secs(1)));
}

#[test]
fn a_plugin_that_asks_for_time_gets_it() {
    let limits = Limits::default();
    let (mut strikes, now) = (Strikes::default(), Instant::now());
    let trouble = Trouble {
        gave_up: true,
        after: Some(Duration::from_millis(100)),
        ..Trouble::default()
    };
    strikes.count(&trouble, now, &limits, Patience::Short);
    assert!(strikes.is_pausing(now + Duration::from_millis(99)));
    assert!(!strikes.is_pausing(now + Duration::from_millis(100)));
}
