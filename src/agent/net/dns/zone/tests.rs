//! One table: a question, and what is known.

use super::*;
use crate::agent::net::dns::samples::{external, headless, network, removed, with_address};
use proptest::prelude::*;

fn zone(sets: &[Arc<EndpointSet>]) -> Zone {
    let mut zone = Zone::default();
    assert!(zone.take_network(&network("cluster.local")));
    for set in sets {
        zone.take_set(set);
    }
    zone
}

fn shop() -> Zone {
    zone(&[
        with_address("shop/web", "10.96.0.10"),
        headless("shop/db", &["db-0=10.244.1.7", "db-1=10.244.2.8"]),
        headless("shop/cache", &["10.244.1.9", "10.244.1.10"]),
        headless("shop/empty", &[]),
        external("shop/mail", "smtp.example.org"),
        external("shop/inner", "web.shop.svc.cluster.local."),
    ])
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// The data of the answers, in order, or a word: `foreign`, `no data`, `no name`.
fn ask(zone: &Zone, question: &str) -> String {
    let (asked, kind) = question.split_once(' ').expect("name and type");
    let data = |record: &Record| {
        assert_eq!((record.ttl, &record.name), (TTL, &name(asked)), "{question}");
        record.data.to_string()
    };
    match zone.look_up(&name(asked), kind.parse().expect("a type"), 0) {
        Answer::Foreign => "foreign".to_owned(),
        Answer::Records { answers, .. } => answers.iter().map(data).collect::<Vec<_>>().join(", "),
        Answer::Alias(alias) => format!("{} = {}", data(&alias.record), alias.target),
        Answer::NoData => "no data".to_owned(),
        Answer::NoName => "no name".to_owned(),
    }
}

#[test]
fn names_are_answered_as_kubernetes_specifies() {
    let zone = shop();
    let check = |question: &str, expected: &str| assert_eq!(ask(&zone, question), expected, "{question}");
    // A Service with an address.
    check("web.shop.svc.cluster.local. A", "10.96.0.10");
    check("WEB.Shop.SVC.Cluster.LOCAL. A", "10.96.0.10");
    check("web.shop.svc.cluster.local. AAAA", "no data");
    check("web.shop.svc.cluster.local. SRV", "no data");
    check("web.other.svc.cluster.local. A", "no name");
    check("other.shop.svc.cluster.local. A", "no name");
    check("x.web.shop.svc.cluster.local. A", "no name");
    // Its ports.
    check("_http._tcp.web.shop.svc.cluster.local. SRV", "0 100 80 web.shop.svc.cluster.local.");
    check("_DNS._UDP.web.shop.svc.cluster.local. SRV", "0 100 53 web.shop.svc.cluster.local.");
    check("_http._tcp.web.shop.svc.cluster.local. A", "no data");
    check("_http._udp.web.shop.svc.cluster.local. SRV", "no name");
    check("http._tcp.web.shop.svc.cluster.local. SRV", "no name");
    check("_._tcp.web.shop.svc.cluster.local. SRV", "no name");
    check("_tcp.web.shop.svc.cluster.local. SRV", "no data");
    check("_sctp.web.shop.svc.cluster.local. SRV", "no name");
    // A headless Service: its pods, by their own names too.
    check("db.shop.svc.cluster.local. A", "10.244.1.7, 10.244.2.8");
    check("db.shop.svc.cluster.local. AAAA", "no data");
    check("db-1.db.shop.svc.cluster.local. A", "10.244.2.8");
    check("DB-1.db.shop.svc.cluster.local. A", "10.244.2.8");
    check("db-2.db.shop.svc.cluster.local. A", "no name");
    check("10-244-1-7.db.shop.svc.cluster.local. A", "no name");
    check("10-244-1-9.cache.shop.svc.cluster.local. A", "10.244.1.9");
    check(
        "_sql._tcp.db.shop.svc.cluster.local. SRV",
        "0 50 5432 db-0.db.shop.svc.cluster.local., 0 50 5432 db-1.db.shop.svc.cluster.local.",
    );
    check(
        "_sql._tcp.cache.shop.svc.cluster.local. SRV",
        "0 50 5432 10-244-1-10.cache.shop.svc.cluster.local., 0 50 5432 10-244-1-9.cache.shop.svc.cluster.local.",
    );
    // One without ready pods is not there, nor is anything below it.
    check("empty.shop.svc.cluster.local. A", "no name");
    check("_sql._tcp.empty.shop.svc.cluster.local. SRV", "no name");
    check("_tcp.empty.shop.svc.cluster.local. SRV", "no name");
    // An external name.
    check("mail.shop.svc.cluster.local. A", "smtp.example.org. = smtp.example.org.");
    check("mail.shop.svc.cluster.local. TXT", "smtp.example.org. = smtp.example.org.");
    check("_http._tcp.mail.shop.svc.cluster.local. SRV", "no name");
    // Pods by their address.
    check("10-244-1-7.shop.pod.cluster.local. A", "10.244.1.7");
    check("10-244-1-7.shop.pod.cluster.local. AAAA", "no data");
    check("192-0-2-1.shop.pod.cluster.local. A", "no name");
    check("10-244-1.shop.pod.cluster.local. A", "no name");
    check("10.244.1.7.shop.pod.cluster.local. A", "no name");
    // What lies between.
    check("shop.svc.cluster.local. A", "no data");
    check("other.svc.cluster.local. A", "no name");
    check("svc.cluster.local. A", "no data");
    check("shop.pod.cluster.local. A", "no data");
    check("cluster.local. A", "no data");
    check("cluster.local. NS", "no data");
    check("dns-version.cluster.local. TXT", "1.1.0");
    check("nothing.cluster.local. A", "no name");
    // What is not ours.
    check("local. A", "foreign");
    check("web. A", "foreign");
    check("example.org. A", "foreign");
    check("xcluster.local. A", "foreign");
    check(". NS", "foreign");
}

#[test]
fn addresses_of_the_cluster_are_looked_up_here_and_others_elsewhere() {
    let zone = shop();
    let check = |question: &str, expected: &str| assert_eq!(ask(&zone, question), expected, "{question}");
    check("10.0.96.10.in-addr.arpa. PTR", "web.shop.svc.cluster.local.");
    check("10.0.96.10.IN-ADDR.ARPA. PTR", "web.shop.svc.cluster.local.");
    check("10.0.96.10.in-addr.arpa. A", "no data");
    check("7.1.244.10.in-addr.arpa. PTR", "db-0.db.shop.svc.cluster.local.");
    check("9.1.244.10.in-addr.arpa. PTR", "10-244-1-9.cache.shop.svc.cluster.local.");
    check("99.1.244.10.in-addr.arpa. PTR", "no name");
    check("99.0.96.10.in-addr.arpa. PTR", "no name");
    check("1.2.0.192.in-addr.arpa. PTR", "foreign");
    check("1.244.10.in-addr.arpa. PTR", "foreign");
    check("1.0.0.127.in-addr.arpa. PTR", "foreign");
    assert_eq!(zone.negative(&name("99.1.244.10.in-addr.arpa.")).name, name("99.1.244.10.in-addr.arpa."));
    assert_eq!(zone.negative(&name("x.y.svc.cluster.local.")).name, name("cluster.local."));
}

#[test]
fn pods_on_the_loopback_of_their_host_take_no_reverse_name_from_it() {
    let zone = zone(&[headless("shop/local", &["a=127.0.0.1"])]);
    assert_eq!(ask(&zone, "a.local.shop.svc.cluster.local. A"), "127.0.0.1");
    assert_eq!(ask(&zone, "1.0.0.127.in-addr.arpa. PTR"), "foreign");
}

#[test]
fn both_families_of_addresses_are_answered() {
    let zone = zone(&[headless("shop/db", &["a=2001:db8::1", "b=10.244.1.7"])]);
    assert_eq!(ask(&zone, "db.shop.svc.cluster.local. AAAA"), "2001:db8::1");
    assert_eq!(ask(&zone, "db.shop.svc.cluster.local. A"), "10.244.1.7");
    let reverse = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.";
    assert_eq!(ask(&zone, &format!("{reverse} PTR")), "a.db.shop.svc.cluster.local.");
}

#[test]
fn addresses_come_with_the_targets_of_srv_records() {
    let look_up = |question: &str| shop().look_up(&name(question), RecordType::SRV, 0);
    let Answer::Records { additionals, .. } = look_up("_sql._tcp.db.shop.svc.cluster.local.") else { panic!("records") };
    let told: Vec<String> = additionals.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
    assert_eq!(told, ["db-0.db.shop.svc.cluster.local. 10.244.1.7", "db-1.db.shop.svc.cluster.local. 10.244.2.8"]);
}

#[test]
fn each_address_comes_first_in_turn() {
    let members: Vec<String> = (1..=5).map(|last| format!("10.244.1.{last}")).collect();
    let zone = zone(&[headless("shop/db", &members.iter().map(String::as_str).collect::<Vec<_>>())]);
    let first = |turn| {
        let found = zone.look_up(&name("db.shop.svc.cluster.local."), RecordType::A, turn);
        let Answer::Records { answers, .. } = found else { panic!("{found:?}") };
        answers[0].data.to_string()
    };
    assert_eq!((0..5).map(first).collect::<BTreeSet<_>>(), members.into_iter().collect());
    assert_eq!(first(usize::MAX), first(usize::MAX % 5));
}

#[test]
fn a_service_that_is_removed_or_changes_leaves_nothing_behind() {
    let (web, db) = (with_address("shop/web", "10.96.0.10"), headless("shop/db", &["db-0=10.244.1.7"]));
    let mut zone = zone(&[Arc::clone(&web), Arc::clone(&db)]);
    zone.take_set(&headless("shop/db", &["db-0=10.244.1.8"]));
    assert_eq!(ask(&zone, "db-0.db.shop.svc.cluster.local. A"), "10.244.1.8");
    assert_eq!(ask(&zone, "7.1.244.10.in-addr.arpa. PTR"), "no name");
    zone.take_set(&removed(&db));
    assert_eq!(ask(&zone, "db.shop.svc.cluster.local. A"), "no name");
    assert_eq!(ask(&zone, "shop.svc.cluster.local. A"), "no data");
    zone.take_set(&removed(&web));
    assert_eq!(ask(&zone, "shop.svc.cluster.local. A"), "no name");
    assert!(zone.services.is_empty() && zone.by_address.is_empty());
}

#[test]
fn the_domain_is_the_clusters_own_and_a_bad_one_changes_nothing() {
    let mut zone = zone(&[with_address("shop/web", "10.96.0.10"), headless("shop/db", &["db-0=10.244.1.7"])]);
    assert!(zone.take_network(&network("k8s.example.org")));
    assert_eq!(ask(&zone, "web.shop.svc.k8s.example.org. A"), "10.96.0.10");
    assert_eq!(ask(&zone, "web.shop.svc.cluster.local. A"), "foreign");
    assert_eq!(ask(&zone, "7.1.244.10.in-addr.arpa. PTR"), "db-0.db.shop.svc.k8s.example.org.");
    for bad in ["", ".", "a..b", &"x".repeat(64)] {
        assert!(!zone.take_network(&network(bad)), "{bad:?}");
        assert_eq!(ask(&zone, "web.shop.svc.k8s.example.org. A"), "10.96.0.10");
    }
}

#[test]
fn every_change_has_a_serial_of_its_own() {
    let mut zone = shop();
    let serial = |zone: &Zone| ask(zone, "cluster.local. SOA");
    let before = serial(&zone);
    zone.take_set(&headless("shop/db", &[]));
    assert_ne!(serial(&zone), before);
}

fn a_label() -> impl Strategy<Value = String> {
    "(web|db|cache|mail|shop|svc|pod|_tcp|_udp|_http|_sql|db-0|10-244-1-9|dns-version|[a-zA-Z0-9_-]{1,12}|\\\\000|\\\\255)"
}

proptest! {
    #[test]
    fn whatever_is_asked_below_the_domain_is_answered_here(labels in prop::collection::vec(a_label(), 0..7)) {
        let asked = labels.into_iter().chain(["cluster.local.".to_owned()]).collect::<Vec<_>>().join(".");
        let Ok(asked) = Name::from_ascii(&asked) else { return Ok(()) };
        for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT, RecordType::PTR, RecordType::CNAME] {
            prop_assert_ne!(shop().look_up(&asked, kind, 3), Answer::Foreign);
        }
    }

    #[test]
    fn a_name_with_records_of_one_type_is_there_for_every_type(labels in prop::collection::vec(a_label(), 1..6)) {
        let asked = labels.into_iter().chain(["cluster.local.".to_owned()]).collect::<Vec<_>>().join(".");
        let Ok(asked) = Name::from_ascii(&asked) else { return Ok(()) };
        let zone = shop();
        let is_there = |kind| zone.look_up(&asked, kind, 0) != Answer::NoName;
        prop_assert_eq!(is_there(RecordType::A), is_there(RecordType::SRV));
        prop_assert_eq!(is_there(RecordType::A), is_there(RecordType::MX));
    }

    #[test]
    fn what_a_name_leads_to_leads_back_to_it(last in 1_u8..=254, host in "[a-z][a-z0-9-]{0,20}[a-z0-9]") {
        let zone = zone(&[headless("shop/db", &[&format!("{host}=10.244.1.{last}")])]);
        prop_assert_eq!(ask(&zone, &format!("{host}.db.shop.svc.cluster.local. A")), format!("10.244.1.{last}"));
        prop_assert_eq!(ask(&zone, &format!("{last}.1.244.10.in-addr.arpa. PTR")), format!("{host}.db.shop.svc.cluster.local."));
    }
}
