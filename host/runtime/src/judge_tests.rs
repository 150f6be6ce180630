//! The failure policy against plugins that fail in every way, as plain functions.

use super::*;

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
    let judged = judge(&mut fake, alerts, limits).await;
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
            assert!(!judged.gave_up && calls <= 2 + 2 * 9);
            let answered: usize = judged.answers.iter().map(|(_, range)| range.len()).sum();
            assert_eq!(answered, alerts - 1);
            assert!(judged.answers.is_sorted_by_key(|(start, _)| *start));
        }
    }
}

#[tokio::test]
async fn an_answered_error_is_isolated_without_a_second_try() {
    let refused = |range: Range<usize>| match range.contains(&1) {
        true => Err(CallError::Refused("invalid: x".into())),
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
        failed_calls_per_batch: 8,
        ..Limits::default()
    };
    let (judged, calls) = run(512, &limits, |_| Err(trap())).await;
    assert_eq!(calls, 8);
    assert!(judged.gave_up && judged.answers.is_empty());
    assert_eq!(positions(&judged), (0..512).collect::<Vec<_>>());
    assert_eq!(judged.failed[511].1, "gave up on the batch after: trapped: unreachable");
}

#[tokio::test]
async fn time_spent_on_failures_is_limited_too() {
    let limits = Limits {
        failure_time_per_batch: Duration::from_millis(20),
        ..Limits::default()
    };
    let slow = |_| {
        std::thread::sleep(Duration::from_millis(15));
        Err(trap())
    };
    let (judged, calls) = run(512, &limits, slow).await;
    assert!(calls <= 2 && judged.gave_up);
}

#[test]
fn strikes_pause_for_twice_as_long_each_time_and_end_with_success() {
    let limits = Limits::default();
    let (mut strikes, start) = (Strikes::default(), Instant::now());
    strikes.count(true, start, &limits);
    strikes.count(true, start, &limits);
    assert!(!strikes.is_pausing(start));
    strikes.count(true, start, &limits);
    assert!(
        strikes.is_pausing(start + Duration::from_millis(999)) && !strikes.is_pausing(start + Duration::from_secs(1))
    );
    for _ in 0..10 {
        strikes.count(true, start, &limits);
    }
    assert!(
        strikes.is_pausing(start + Duration::from_secs(59)) && !strikes.is_pausing(start + Duration::from_secs(60))
    );
    strikes.count(false, start, &limits);
    assert!(!strikes.is_pausing(start));
}
