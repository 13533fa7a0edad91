//! Tables and properties for the autoscaler.

use super::*;
use crate::model::{
    Amounts, ContainerUsage, MetricTarget, NoReading, PodUsage, ScaleChange, ScaleLimit, ScaleMetric, ScalePolicy, ScaleRules,
    ScaledResource, SelectPolicy,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// Long after any start.
const LONG: Duration = Duration::from_secs(3600);

fn bounds(min: u32, max: u32, metrics: &[ScaleMetric]) -> Autoscaler {
    Autoscaler {
        target_kind: "Deployment".into(),
        target_name: "web".into(),
        min_replicas: min,
        max_replicas: max,
        metrics: metrics.to_vec(),
        scale_up: ScaleRules::up(),
        scale_down: ScaleRules::down(),
    }
}

fn metric(resource: ScaledResource, container: Option<&str>, target: MetricTarget) -> ScaleMetric {
    ScaleMetric { resource, container: container.map(str::to_owned), target }
}

fn memory(average: u64) -> ScaleMetric {
    metric(ScaledResource::Memory, None, MetricTarget::AverageValue(average))
}

/// A pod of one container `app`, that requests 100m and 100 bytes.
#[derive(Debug, Clone)]
struct Pod {
    usage: Option<PodUsage>,
    requests: Vec<(&'static str, Amounts)>,
    pending: bool,
    ready: bool,
    ready_for: Duration,
    age: Duration,
}

/// One that has been up for long and uses so many millicores and bytes.
fn uses(cpu_milli: u64, memory_bytes: u64) -> Pod {
    Pod { usage: Some(usage(&[("app", cpu_milli, memory_bytes)])), ..silent() }
}

/// One that has been up for long and has no sample.
fn silent() -> Pod {
    let requests = vec![("app", Amounts { cpu_milli: 100, memory_bytes: 100 })];
    Pod { usage: None, requests, pending: false, ready: true, ready_for: LONG, age: LONG }
}

/// One that has just started, and is busy with that.
fn starting() -> Pod {
    Pod { ready: false, ready_for: Duration::ZERO, age: Duration::from_secs(20), ..uses(100, 100) }
}

fn one(pod: &Pod) -> &[Pod] {
    std::slice::from_ref(pod)
}

fn usage(containers: &[(&str, u64, u64)]) -> PodUsage {
    let container = |(name, cpu, memory_bytes): &(&str, u64, u64)| {
        ((*name).to_owned(), ContainerUsage { cpu_milli: Some(*cpu), memory_bytes: *memory_bytes })
    };
    containers.iter().map(container).collect()
}

fn busy(cpu: &[u64]) -> Vec<Pod> {
    cpu.iter().map(|milli| uses(*milli, 0)).collect()
}

fn samples(pods: &[Pod]) -> Vec<Sample<'_>> {
    let sample = |pod: &'_ Pod| Sample {
        usage: None,
        requests: pod.requests.iter().copied().collect::<BTreeMap<_, _>>(),
        pending: pod.pending,
        ready: pod.ready,
        ready_for: pod.ready_for,
        age: pod.age,
    };
    pods.iter().map(|pod| Sample { usage: pod.usage.as_ref(), ..sample(pod) }).collect()
}

/// What one metric alone says of a workload that has wanted as many pods as there are.
fn check(metric: &ScaleMetric, pods: &[Pod], expected: Result<u32, NoReading>) {
    let current = u32::try_from(pods.len()).expect("few");
    let found = metrics::read(&bounds(1, 100, std::slice::from_ref(metric)), current, &samples(pods));
    assert_eq!(found[0].wish, expected, "{pods:?} by {metric:?}");
}

#[test]
fn the_number_follows_the_ratio_of_usage_to_target_rounded_up() {
    let half = ScaleMetric::cpu(50);
    check(&half, &busy(&[100, 100]), Ok(4));
    check(&half, &busy(&[60, 61, 59]), Ok(4));
    check(&half, &busy(&[20, 20, 20, 20]), Ok(2));
    check(&half, &busy(&[0, 0, 0]), Ok(0));
}

#[test]
fn a_ratio_within_ten_percent_changes_nothing() {
    let half = ScaleMetric::cpu(50);
    check(&half, &busy(&[55, 55]), Ok(2));
    check(&half, &busy(&[45, 45]), Ok(2));
    check(&half, &busy(&[56, 56]), Ok(3));
    check(&half, &busy(&[44; 9]), Ok(8));
}

#[test]
fn each_direction_has_a_tolerance_of_its_own() {
    let mut patient = bounds(1, 100, &[ScaleMetric::cpu(50)]);
    patient.scale_up.tolerance_milli = 300;
    patient.scale_down.tolerance_milli = 0;
    let wish = |cpu: &[u64]| metrics::read(&patient, 2, &samples(&busy(cpu)))[0].wish.clone();
    assert_eq!(wish(&[64, 64]), Ok(2));
    assert_eq!(wish(&[66, 66]), Ok(3));
    assert_eq!(wish(&[50, 50]), Ok(2));
    assert_eq!(metrics::read(&patient, 4, &samples(&busy(&[37; 4])))[0].wish, Ok(3));
}

#[test]
fn a_pod_without_a_sample_is_taken_as_busy_on_the_way_down_and_as_idle_on_the_way_up() {
    let half = ScaleMetric::cpu(50);
    check(&half, &[uses(10, 0), uses(10, 0), uses(10, 0), silent()], Ok(3));
    check(&half, &[uses(10, 0), silent()], Ok(2));
    check(&half, &[uses(200, 0), silent()], Ok(4));
    check(&half, &[uses(90, 0), silent()], Ok(2));
    check(&half, &[silent(), silent()], Err(NoReading::NoSamples));
}

#[test]
fn a_pod_that_is_starting_counts_as_idle_on_the_way_up_and_not_at_all_on_the_way_down() {
    let half = ScaleMetric::cpu(50);
    check(&half, &[uses(100, 0), starting()], Ok(2));
    check(&half, &[uses(400, 0), starting()], Ok(8));
    check(&half, &[uses(10, 0), uses(10, 0), starting()], Ok(1));
    check(&half, &[starting(), starting()], Err(NoReading::NoSamples));
    check(&half, &[uses(10, 0), uses(10, 0), Pod { pending: true, ..silent() }], Ok(1));
}

#[test]
fn a_pod_that_has_just_become_ready_still_counts_as_starting() {
    let half = ScaleMetric::cpu(50);
    let fresh = Pod { ready: true, ready_for: Duration::from_secs(5), ..starting() };
    check(&half, &[uses(100, 0), fresh.clone()], Ok(2));
    check(&half, &[uses(100, 0), Pod { ready_for: Duration::from_secs(20), ..fresh }], Ok(4));
}

#[test]
fn memory_counts_from_the_first_sample_whether_a_pod_is_ready_or_not() {
    check(&memory(50), &[uses(0, 100), starting()], Ok(4));
    check(&memory(50), &[uses(0, 100), Pod { pending: true, ..starting() }], Ok(2));
    let percent = metric(ScaledResource::Memory, None, MetricTarget::Utilization(50));
    check(&percent, &[uses(0, 100), uses(0, 100)], Ok(4));
}

#[test]
fn a_percentage_needs_a_request_of_every_container_that_is_looked_at() {
    let none = vec![("app", Amounts::default())];
    let bare = Pod { requests: none.clone(), ..uses(200, 200) };
    check(&ScaleMetric::cpu(50), one(&bare), Err(NoReading::NoRequest("app".into())));
    check(&memory(100), one(&bare), Ok(2));
    let two = vec![("app", Amounts { cpu_milli: 100, memory_bytes: 0 }), ("log", Amounts::default())];
    let mixed = Pod { requests: two, usage: Some(usage(&[("app", 100, 0), ("log", 900, 0)])), ..silent() };
    check(&ScaleMetric::cpu(50), one(&mixed), Err(NoReading::NoRequest("log".into())));
    let app = metric(ScaledResource::Cpu, Some("app"), MetricTarget::Utilization(50));
    check(&app, one(&mixed), Ok(2));
}

#[test]
fn one_container_is_looked_at_alone() {
    let requests = ["app", "log"].map(|name| (name, Amounts { cpu_milli: 100, memory_bytes: 100 })).to_vec();
    let pod = Pod { requests, usage: Some(usage(&[("app", 10, 20), ("log", 300, 400)])), ..silent() };
    let of = |resource, name| metric(resource, Some(name), MetricTarget::AverageValue(100));
    check(&of(ScaledResource::Cpu, "app"), one(&pod), Ok(1));
    check(&of(ScaledResource::Cpu, "log"), one(&pod), Ok(3));
    check(&of(ScaledResource::Memory, "log"), one(&pod), Ok(4));
    check(&of(ScaledResource::Cpu, "db"), one(&pod), Err(NoReading::NoContainer("db".into())));
    // A container that does not run has no sample.
    let half = Pod { usage: Some(usage(&[("log", 300, 400)])), ..pod };
    check(&of(ScaledResource::Cpu, "app"), one(&half), Err(NoReading::NoSamples));
}

#[test]
fn what_an_older_agent_says_of_a_whole_pod_counts_for_the_whole_pod() {
    let old = Pod { usage: Some(PodUsage { cpu_milli: Some(100), ..PodUsage::default() }), ..silent() };
    check(&ScaleMetric::cpu(50), one(&old), Ok(2));
    check(&memory(50), one(&old), Err(NoReading::NoSamples));
}

/// What the first look at some pods decides.
fn first_look(bounds: &Autoscaler, current: u32, pods: &[Pod]) -> ScaleDecision {
    decide(bounds, &mut ScaleHistory::default(), current, &samples(pods), Moment(0))
}

#[test]
fn of_several_metrics_the_one_that_asks_for_the_most_pods_decides() {
    let both = bounds(1, 10, &[ScaleMetric::cpu(50), memory(50)]);
    let found = first_look(&both, 2, &[uses(75, 200), uses(75, 200)]);
    assert_eq!((found.replicas, found.basis), (6, ScaleBasis::Metric(1)));
    let found = first_look(&both, 2, &[uses(100, 10), uses(100, 10)]);
    assert_eq!((found.replicas, found.basis), (4, ScaleBasis::Metric(0)));
    let found = first_look(&both, 2, &[uses(50, 50), uses(50, 50)]);
    assert_eq!((found.replicas, found.basis), (2, ScaleBasis::Metric(0)), "the first of equals");
}

#[test]
fn a_metric_that_says_nothing_forbids_to_take_pods_away_and_not_to_add_some() {
    let mut both = bounds(1, 10, &[memory(50), ScaleMetric::cpu(50)]);
    both.scale_down.window_seconds = 0;
    let without_memory = |cpu| Pod { usage: Some(PodUsage { memory_bytes: None, ..usage(&[("app", cpu, 0)]) }), ..silent() };
    let found = first_look(&both, 4, &vec![without_memory(10); 4]);
    assert_eq!((found.replicas, found.basis), (4, ScaleBasis::Silence(0)));
    let found = first_look(&both, 2, &[without_memory(100), without_memory(100)]);
    assert_eq!((found.replicas, found.basis), (4, ScaleBasis::Metric(1)));
    let found = first_look(&both, 2, &[silent(), silent()]);
    assert_eq!((found.replicas, found.basis), (2, ScaleBasis::Silence(0)));
    let found = first_look(&both, 4, &vec![uses(10, 10); 4]);
    assert_eq!(found.replicas, 1, "both say so");
}

/// A workload that follows every recommendation, looked at at the given seconds with the given usage of each pod.
fn run(bounds: &Autoscaler, start: u32, looks: &[(u64, u64)]) -> Vec<ScaleDecision> {
    let mut history = ScaleHistory::default();
    let mut current = start;
    let mut seen = Vec::new();
    for (seconds, cpu) in looks {
        let pods = vec![uses(*cpu, 0); current as usize];
        let found = decide(bounds, &mut history, current, &samples(&pods), Moment(seconds * 1000));
        current = found.replicas;
        seen.push(found);
    }
    seen
}

fn numbers(seen: &[ScaleDecision]) -> Vec<u32> {
    seen.iter().map(|decision| decision.replicas).collect()
}

fn on_cpu(min: u32, max: u32) -> Autoscaler {
    bounds(min, max, &[ScaleMetric::cpu(50)])
}

#[test]
fn it_goes_down_only_when_five_minutes_asked_for_no_more() {
    let seen = run(&on_cpu(1, 10), 4, &[(0, 10), (15, 10), (299, 10), (300, 10)]);
    assert_eq!(numbers(&seen), [4, 4, 4, 1]);
    assert!(seen[..3].iter().all(|decision| decision.stabilized), "{seen:?}");
    assert!(!seen[3].stabilized);
}

#[test]
fn a_short_rise_within_the_window_keeps_the_number_up() {
    let seen = run(&on_cpu(1, 10), 2, &[(0, 100), (15, 10), (299, 10), (301, 10)]);
    assert_eq!(numbers(&seen), [4, 4, 4, 1]);
    assert!(seen[1].stabilized);
}

#[test]
fn it_goes_up_at_once_but_no_faster_than_doubling_or_four_pods_in_fifteen_seconds() {
    let seen = run(&on_cpu(1, 100), 1, &[(0, 1000), (5, 1000), (15, 1000), (30, 1000)]);
    assert_eq!(numbers(&seen), [5, 5, 10, 20]);
    assert_eq!(seen[0].limit, Some(ScaleLimit::Rise));
}

#[test]
fn a_window_for_going_up_waits_for_the_lowest_recommendation_in_it() {
    let mut patient = on_cpu(1, 10);
    patient.scale_up.window_seconds = 60;
    let seen = run(&patient, 2, &[(0, 50), (15, 100), (59, 100), (61, 100)]);
    assert_eq!(numbers(&seen), [2, 2, 2, 4]);
}

#[test]
fn the_bounds_hold_at_once_and_zero_replicas_switch_it_off() {
    let last = |bounds: &Autoscaler, start, looks: &[(u64, u64)]| {
        let decision = run(bounds, start, looks).pop().expect("a look");
        (decision.replicas, decision.basis, decision.limit)
    };
    assert_eq!(last(&on_cpu(3, 10), 1, &[(0, 50)]), (3, ScaleBasis::Bounds, None));
    assert_eq!(last(&on_cpu(1, 10), 12, &[(0, 50)]), (10, ScaleBasis::Bounds, None));
    assert_eq!(last(&on_cpu(1, 3), 2, &[(0, 500)]), (3, ScaleBasis::Metric(0), Some(ScaleLimit::Maximum)));
    assert_eq!(last(&on_cpu(2, 10), 4, &[(0, 0), (400, 0)]), (2, ScaleBasis::Metric(0), Some(ScaleLimit::Minimum)));
    assert_eq!(last(&on_cpu(1, 10), 0, &[(0, 50)]), (0, ScaleBasis::Disabled, None));
}

/// How fast it goes: the policies of one direction, without a window.
fn paced(select: SelectPolicy, policies: &[(ScaleChange, u32)]) -> ScaleRules {
    let policy = |(change, period_seconds): &(ScaleChange, u32)| ScalePolicy { change: *change, period_seconds: *period_seconds };
    ScaleRules { window_seconds: 0, select, policies: policies.iter().map(policy).collect(), ..ScaleRules::up() }
}

/// The numbers of ten looks, 15 s apart, at pods that do nothing or far too much.
fn pace(rules: &ScaleRules, start: u32, up: bool) -> Vec<u32> {
    let (scale_up, scale_down) = if up { (rules.clone(), ScaleRules::down()) } else { (ScaleRules::up(), rules.clone()) };
    let bounds = Autoscaler { scale_up, scale_down, ..on_cpu(1, 100) };
    let looks: Vec<(u64, u64)> = (0..6).map(|look| (look * 15, if up { 10_000 } else { 0 })).collect();
    numbers(&run(&bounds, start, &looks))
}

#[test]
fn policies_limit_how_many_pods_come_and_go_in_their_period() {
    let (two, half) = ((ScaleChange::Pods(2), 30), (ScaleChange::Percent(50), 15));
    let all = [two, half];
    assert_eq!(pace(&paced(SelectPolicy::Max, &[two]), 1, true), [3, 3, 5, 5, 7, 7]);
    assert_eq!(pace(&paced(SelectPolicy::Max, &[half]), 1, true), [2, 3, 5, 8, 12, 18]);
    assert_eq!(pace(&paced(SelectPolicy::Min, &all), 1, true), [2, 3, 4, 5, 6, 7]);
    assert_eq!(pace(&paced(SelectPolicy::Max, &all), 1, true), [3, 5, 8, 12, 18, 27]);
    assert_eq!(pace(&paced(SelectPolicy::Max, &[two]), 9, false), [7, 7, 5, 5, 3, 3]);
    assert_eq!(pace(&paced(SelectPolicy::Max, &[half]), 9, false), [4, 2, 1, 1, 1, 1]);
    assert_eq!(pace(&paced(SelectPolicy::Min, &all), 9, false), [7, 7, 5, 5, 3, 3]);
    assert_eq!(pace(&paced(SelectPolicy::Max, &all), 9, false), [4, 2, 1, 1, 1, 1]);
}

#[test]
fn a_disabled_direction_is_never_taken() {
    let disabled = paced(SelectPolicy::Disabled, &[(ScaleChange::Percent(100), 15)]);
    assert_eq!(pace(&disabled, 3, true), [3; 6]);
    assert_eq!(pace(&disabled, 3, false), [3; 6]);
}

#[test]
fn what_went_the_other_way_in_the_period_counts_as_well() {
    let mut brisk = on_cpu(1, 100);
    brisk.scale_up = paced(SelectPolicy::Max, &[(ScaleChange::Pods(4), 60)]);
    brisk.scale_down = paced(SelectPolicy::Max, &[(ScaleChange::Pods(2), 60)]);
    // 6, of which two go; within the minute four may come to the 6 that there were.
    let seen = run(&brisk, 6, &[(0, 0), (15, 10_000), (30, 10_000)]);
    assert_eq!(numbers(&seen), [4, 10, 10]);
}

#[test]
fn a_decision_says_why_in_one_clause() {
    let says = |bounds: &Autoscaler, current, pods: &[Pod]| first_look(bounds, current, pods).because(bounds);
    let both = bounds(1, 10, &[ScaleMetric::cpu(50), memory(64 << 20)]);
    let big = uses(10, 96 << 20);
    assert_eq!(says(&both, 2, &[big.clone(), big.clone()]), "memory: 96Mi/64Mi");
    assert_eq!(says(&both, 1, &[uses(1000, 0)]), "cpu: 1000%/50%, as fast as scaleUp allows");
    assert_eq!(
        says(&both, 2, &[silent(), silent()]),
        "cpu says nothing: there is no fresh sample of a pod that has been up for long enough"
    );
    assert_eq!(says(&on_cpu(1, 10), 2, &busy(&[10, 10])), "cpu: 10%/50%, and its window holds the number back");
}

fn any_rules() -> impl Strategy<Value = ScaleRules> {
    let change = prop_oneof![(1..20_u32).prop_map(ScaleChange::Pods), (1..200_u32).prop_map(ScaleChange::Percent)];
    let policy = (change, 1..120_u32).prop_map(|(change, period_seconds)| ScalePolicy { change, period_seconds });
    let select = proptest::sample::select(vec![SelectPolicy::Max, SelectPolicy::Min, SelectPolicy::Disabled]);
    (0..120_u32, select, proptest::collection::vec(policy, 1..3), 0..500_u32).prop_map(
        |(window_seconds, select, policies, tolerance_milli)| ScaleRules { window_seconds, select, policies, tolerance_milli },
    )
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let used = proptest::option::of((0..1000_u64, 0..1000_u64));
    (used, any::<[bool; 2]>(), 0..40_u64).prop_map(|(used, [pending, ready], seconds)| {
        let time = Duration::from_secs(seconds);
        let pod = used.map_or_else(silent, |(cpu, memory)| uses(cpu, memory));
        Pod { pending, ready, ready_for: time, age: time * 20, ..pod }
    })
}

proptest! {
    #[test]
    fn whatever_the_pods_say_the_bounds_and_the_disabled_directions_hold(
        rules in [any_rules(), any_rules()],
        looks in proptest::collection::vec((1..40_u64, proptest::collection::vec(any_pod(), 0..8)), 1..12),
        start in 1..12_u32,
    ) {
        let [scale_up, scale_down] = rules;
        let bounds = Autoscaler { scale_up, scale_down, ..bounds(2, 9, &[ScaleMetric::cpu(50), memory(400)]) };
        let (mut history, mut current, mut now) = (ScaleHistory::default(), start, Moment(0));
        for (seconds, pods) in looks {
            now = now + Duration::from_secs(seconds);
            let found = decide(&bounds, &mut history, current, &samples(&pods), now);
            prop_assert!((2..=9).contains(&found.replicas), "{found:?}");
            if (2..=9).contains(&current) {
                prop_assert!(found.replicas <= current || bounds.scale_up.select != SelectPolicy::Disabled, "{found:?}");
                prop_assert!(found.replicas >= current || bounds.scale_down.select != SelectPolicy::Disabled, "{found:?}");
                let is_silent = found.readings.iter().any(|reading| reading.wish.is_err());
                prop_assert!(!is_silent || found.replicas >= current, "a silent metric took pods away: {found:?}");
            }
            current = found.replicas;
        }
    }

    #[test]
    fn more_usage_never_asks_for_fewer_pods(cpu in proptest::collection::vec(0..500_u64, 1..10), more in 1..500_u64) {
        let current = u32::try_from(cpu.len()).expect("few");
        let wish = |extra: u64| {
            let pods: Vec<Pod> = cpu.iter().map(|milli| uses(milli + extra, 0)).collect();
            metrics::read(&on_cpu(1, 100), current, &samples(&pods))[0].wish.clone().expect("samples")
        };
        prop_assert!(wish(more) >= wish(0));
    }
}
