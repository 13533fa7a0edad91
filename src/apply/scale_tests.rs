//! Tables for the autoscaler.

use super::*;

fn bounds(min: u32, max: u32, percent: u32) -> Autoscaler {
    Autoscaler {
        target_kind: "Deployment".into(),
        target_name: "web".into(),
        min_replicas: min,
        max_replicas: max,
        cpu_percent: Some(percent),
        cpu_average_milli: None,
        scale_down_window_seconds: 300,
        scale_up_window_seconds: 0,
    }
}

/// A pod that has been up for long, requests 100m and uses so many millicores; `None` without a sample.
fn pod(cpu_milli: Option<u64>) -> Sample {
    let long = Duration::from_secs(3600);
    Sample { cpu_milli, request_milli: 100, ready: true, ready_for: long, age: long }
}

fn pods(usage: &[u64]) -> Vec<Sample> {
    usage.iter().map(|milli| pod(Some(*milli))).collect()
}

fn starting() -> Sample {
    Sample { ready: false, ready_for: Duration::ZERO, age: Duration::from_secs(20), ..pod(Some(100)) }
}

/// The usage alone, without windows and limits.
fn check(percent: u32, samples: &[Sample], expected: (u32, ScaleReason)) {
    let current = u32::try_from(samples.len()).expect("few");
    let found = from_usage(&bounds(1, 100, percent), current, samples);
    assert_eq!((found.replicas, found.reason), expected, "{samples:?} at {percent} %");
}

#[test]
fn the_number_follows_the_ratio_of_usage_to_target_rounded_up() {
    check(50, &pods(&[100, 100]), (4, ScaleReason::Usage));
    check(50, &pods(&[60, 61, 59]), (4, ScaleReason::Usage));
    check(50, &pods(&[20, 20, 20, 20]), (2, ScaleReason::Usage));
    check(50, &pods(&[0, 0, 0]), (0, ScaleReason::Usage));
}

#[test]
fn a_ratio_within_ten_percent_changes_nothing() {
    check(50, &pods(&[55, 55]), (2, ScaleReason::WithinTolerance));
    check(50, &pods(&[45, 45]), (2, ScaleReason::WithinTolerance));
    check(50, &pods(&[56, 56]), (3, ScaleReason::Usage));
    check(50, &pods(&[44, 44, 44, 44, 44, 44, 44, 44, 44]), (8, ScaleReason::Usage));
}

#[test]
fn a_pod_without_a_sample_is_taken_as_busy_on_the_way_down_and_as_idle_on_the_way_up() {
    check(50, &[pod(Some(10)), pod(Some(10)), pod(Some(10)), pod(None)], (3, ScaleReason::Usage));
    check(50, &[pod(Some(10)), pod(None)], (2, ScaleReason::WithinTolerance));
    check(50, &[pod(Some(200)), pod(None)], (4, ScaleReason::Usage));
    check(50, &[pod(Some(90)), pod(None)], (2, ScaleReason::WithinTolerance));
    check(50, &[pod(None), pod(None)], (2, ScaleReason::NoSamples));
}

#[test]
fn a_pod_that_is_starting_counts_as_idle_on_the_way_up_and_not_at_all_on_the_way_down() {
    check(50, &[pod(Some(100)), starting()], (2, ScaleReason::WithinTolerance));
    check(50, &[pod(Some(400)), starting()], (8, ScaleReason::Usage));
    check(50, &[pod(Some(10)), pod(Some(10)), starting()], (1, ScaleReason::Usage));
    check(50, &[starting(), starting()], (2, ScaleReason::NoSamples));
}

#[test]
fn a_pod_that_has_just_become_ready_still_counts_as_starting() {
    let fresh = Sample { ready: true, ready_for: Duration::from_secs(5), ..starting() };
    check(50, &[pod(Some(100)), fresh], (2, ScaleReason::WithinTolerance));
    let settled = Sample { ready_for: Duration::from_secs(20), ..fresh };
    check(50, &[pod(Some(100)), settled], (4, ScaleReason::Usage));
}

#[test]
fn without_a_request_or_a_target_nothing_is_scaled() {
    check(50, &[Sample { request_milli: 0, ..pod(Some(900)) }], (1, ScaleReason::NoRequest));
    let aimless = Autoscaler { cpu_percent: None, ..bounds(1, 9, 50) };
    assert_eq!(from_usage(&aimless, 3, &pods(&[900])).reason, ScaleReason::NoTarget);
    let absolute = Autoscaler { cpu_percent: None, cpu_average_milli: Some(100), ..bounds(1, 9, 50) };
    let found = from_usage(&absolute, 2, &[Sample { request_milli: 0, ..pod(Some(200)) }; 2]);
    assert_eq!((found.replicas, found.reason), (4, ScaleReason::Usage));
}

/// A workload that follows every recommendation, looked at at the given seconds with the given usage of each pod.
fn run(bounds: &Autoscaler, start: u32, looks: &[(u64, u64)]) -> Vec<(u32, ScaleReason)> {
    let mut history = ScaleHistory::default();
    let mut current = start;
    let mut seen = Vec::new();
    for (seconds, usage) in looks {
        let samples = pods(&vec![*usage; current as usize]);
        let found = explain(bounds, &mut history, current, &samples, Moment(seconds * 1000));
        current = found.replicas;
        seen.push((found.replicas, found.reason));
    }
    seen
}

#[test]
fn it_goes_down_only_when_five_minutes_asked_for_no_more() {
    let seen = run(&bounds(1, 10, 50), 4, &[(0, 10), (15, 10), (299, 10), (300, 10)]);
    let held = (4, ScaleReason::Stabilized);
    assert_eq!(seen, [held, held, held, (1, ScaleReason::Usage)]);
}

#[test]
fn a_short_rise_within_the_window_keeps_the_number_up() {
    let seen = run(&bounds(1, 10, 50), 2, &[(0, 100), (15, 10), (314, 10), (316, 10)]);
    assert_eq!(seen[0], (4, ScaleReason::Usage));
    assert_eq!(seen[1], (4, ScaleReason::Stabilized));
    assert_eq!(seen[3].0, 1, "{seen:?}");
}

#[test]
fn it_goes_up_at_once_but_no_faster_than_doubling_or_four_pods_in_fifteen_seconds() {
    let seen = run(&bounds(1, 100, 50), 1, &[(0, 1000), (5, 1000), (15, 1000), (30, 1000)]);
    let numbers: Vec<u32> = seen.iter().map(|(replicas, _)| *replicas).collect();
    assert_eq!(numbers, [5, 5, 10, 20]);
    assert_eq!(seen[0].1, ScaleReason::Limited);
}

#[test]
fn a_window_for_going_up_waits_for_the_lowest_recommendation_in_it() {
    let patient = Autoscaler { scale_up_window_seconds: 60, ..bounds(1, 10, 50) };
    let seen = run(&patient, 2, &[(0, 50), (15, 100), (59, 100), (61, 100)]);
    let numbers: Vec<u32> = seen.iter().map(|(replicas, _)| *replicas).collect();
    assert_eq!(numbers, [2, 2, 2, 4]);
}

#[test]
fn the_bounds_hold_at_once_and_zero_replicas_switch_it_off() {
    assert_eq!(run(&bounds(3, 10, 50), 1, &[(0, 50)]), [(3, ScaleReason::AtMinimum)]);
    assert_eq!(run(&bounds(1, 10, 50), 12, &[(0, 50)]), [(10, ScaleReason::AtMaximum)]);
    assert_eq!(run(&bounds(1, 3, 50), 2, &[(0, 500)]), [(3, ScaleReason::AtMaximum)]);
    assert_eq!(run(&bounds(2, 10, 50), 4, &[(0, 0), (400, 0)])[1], (2, ScaleReason::AtMinimum));
    assert_eq!(run(&bounds(1, 10, 50), 0, &[(0, 50)]), [(0, ScaleReason::Disabled)]);
}
