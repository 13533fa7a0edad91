//! Bytes in, bytes out.

use super::*;
use crate::agent::net::dns::samples::{external, headless, network, with_address};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{Name, RData};
use proptest::prelude::*;

fn zone() -> Zone {
    let mut zone = Zone::default();
    assert!(zone.take_network(&network("cluster.local")));
    let many: Vec<String> = (1..=200).map(|last| format!("10.244.1.{last}")).collect();
    let sets = [
        with_address("shop/web", "10.96.0.10"),
        headless("shop/db", &["db-0=10.244.1.7", "db-1=10.244.2.8"]),
        headless("shop/many", &many.iter().map(String::as_str).collect::<Vec<_>>()),
        external("shop/mail", "smtp.example.org"),
        external("shop/inner", "web.shop.svc.cluster.local"),
        external("shop/lost", "nobody.shop.svc.cluster.local"),
        external("shop/again", "mail.shop.svc.cluster.local"),
    ];
    for set in &sets {
        zone.take_set(set);
    }
    zone
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

fn with_edns(mut message: Message, payload: u16, version: u8) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(version);
    message.set_edns(edns);
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("it can be written")
}

fn answered(message: &Message, transport: Transport) -> (Message, usize) {
    let handled = handle(&bytes(message), transport, &zone(), 0);
    let Handled::Answered(bytes) = handled else { panic!("{handled:?}") };
    (Message::from_vec(&bytes).expect("it can be read"), bytes.len())
}

fn pending(message: &Message) -> Pending {
    let handled = handle(&bytes(message), Transport::Udp, &zone(), 0);
    let Handled::Pending(pending) = handled else { panic!("{handled:?}") };
    *pending
}

fn code(message: &Message) -> ResponseCode {
    answered(message, Transport::Udp).0.metadata.response_code
}

#[test]
fn an_answer_repeats_the_question_and_speaks_with_authority() {
    let asked = question("Web.shop.svc.cluster.local.", RecordType::A);
    let (answer, _) = answered(&asked, Transport::Udp);
    assert_eq!((answer.metadata.id, answer.metadata.message_type), (7, MessageType::Response));
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert!(answer.queries[0].name().eq_case(asked.queries[0].name()), "the case that was asked is repeated");
    assert!(answer.answers[0].name.eq_case(asked.queries[0].name()));
    assert_eq!(answer.answers[0].data, RData::A(A::new(10, 96, 0, 10)));
    assert!(answer.edns.is_none(), "who does not speak EDNS gets none");
}

#[test]
fn what_is_not_there_says_for_how_long() {
    for (name, kind, expected) in [
        ("web.shop.svc.cluster.local.", RecordType::AAAA, ResponseCode::NoError),
        ("nobody.shop.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain),
        ("9.9.244.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain),
    ] {
        let (answer, _) = answered(&question(name, kind), Transport::Udp);
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (expected, 0), "{name}");
        assert!(answer.metadata.authoritative);
        let soa = &answer.authorities[0];
        let RData::SOA(data) = &soa.data else { panic!("{soa:?}") };
        assert_eq!((soa.ttl, data.minimum), (TTL, TTL));
    }
}

#[test]
fn what_is_no_question_gets_no_answer_and_what_is_no_good_question_gets_a_refusal() {
    let mut response = question("web.shop.svc.cluster.local.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert!(matches!(handle(&bytes(&response), Transport::Udp, &zone(), 0), Handled::Ignored));
    assert!(matches!(handle(&[0; 11], Transport::Udp, &zone(), 0), Handled::Ignored));
    let mut update = question("web.shop.svc.cluster.local.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut two = question("web.shop.svc.cluster.local.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr);
    assert_eq!(code(&Message::new(7, MessageType::Query, OpCode::Query)), ResponseCode::FormErr);
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    for (kind, expected) in [
        (RecordType::ANY, ResponseCode::NotImp),
        (RecordType::AXFR, ResponseCode::Refused),
        (RecordType::IXFR, ResponseCode::Refused),
        (RecordType::OPT, ResponseCode::FormErr),
    ] {
        assert_eq!(code(&question("cluster.local.", kind)), expected, "{kind}");
    }
    let newer = code(&with_edns(question("cluster.local.", RecordType::SOA), 1232, 1));
    assert_eq!(u16::from(newer), u16::from(ResponseCode::BADVERS), "the number has another name in other places");
}

#[test]
fn answers_by_udp_stay_short_and_say_what_they_leave_out() {
    let many = question("many.shop.svc.cluster.local.", RecordType::A);
    let (plain, length) = answered(&many, Transport::Udp);
    assert!(length <= 512 && plain.metadata.truncation);
    assert!(plain.answers.len() > 20, "who cannot ask by TCP makes do with the part that fits");
    for (payload, longest) in [(100, 512), (1_000, 1_000), (65_535, 1_232)] {
        let (answer, length) = answered(&with_edns(many.clone(), payload, 0), Transport::Udp);
        assert!(length <= longest && answer.metadata.truncation, "{payload}: {length}");
        assert!(answer.edns.is_some(), "{payload}: a server that forgets EDNS is taken for an old one");
    }
    let (whole, length) = answered(&many, Transport::Tcp);
    assert!(length > 1_232 && !whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
}

#[test]
fn what_only_helps_never_cuts_off_what_was_asked_for() {
    let asked = with_edns(question("_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV), 1_232, 0);
    let (both, _) = answered(&asked, Transport::Udp);
    assert_eq!((both.answers.len(), both.additionals.len()), (2, 2));
    let zone = {
        let mut zone = zone();
        let members: Vec<String> = (1..=9).map(|last| format!("a-rather-long-name-{last}=10.244.1.{last}")).collect();
        zone.take_set(&headless("shop/db", &members.iter().map(String::as_str).collect::<Vec<_>>()));
        zone
    };
    let asked = question("_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV);
    let Handled::Answered(bytes) = handle(&bytes(&asked), Transport::Tcp, &zone, 0) else { panic!("an answer") };
    assert!(Message::from_vec(&bytes).expect("whole").additionals.len() == 9);
    let Handled::Answered(bytes) = handle(&super::tests::bytes(&with_edns(asked, 800, 0)), Transport::Udp, &zone, 0) else {
        panic!("an answer")
    };
    let answer = Message::from_vec(&bytes).expect("whole");
    assert_eq!((answer.answers.len(), answer.additionals.len(), answer.metadata.truncation), (9, 0, false));
}

#[test]
fn what_is_not_ours_is_asked_of_others_only_if_that_is_wanted() {
    let asked = question("www.example.org.", RecordType::A);
    let waiting = pending(&asked);
    assert_eq!(waiting.query, asked.queries[0]);
    let found = Record::from_rdata(Name::from_ascii("www.example.org.").expect("a name"), 300, RData::A(A::new(192, 0, 2, 1)));
    let outcome = Outcome { code: ResponseCode::NoError, answers: vec![found.clone()], authorities: Vec::new() };
    let answer = Message::from_vec(&waiting.finish(outcome)).expect("whole");
    assert_eq!((answer.metadata.id, answer.metadata.authoritative, answer.answers), (7, false, vec![found]));
    let mut alone = asked;
    alone.metadata.recursion_desired = false;
    assert_eq!(code(&alone), ResponseCode::Refused);
}

#[test]
fn an_external_name_is_followed_and_remembered_no_longer_than_any_name_of_ours() {
    let asked = question("mail.shop.svc.cluster.local.", RecordType::A);
    let waiting = pending(&asked);
    let target = Name::from_ascii("smtp.example.org.").expect("a name");
    assert_eq!(waiting.query, Query::query(target.clone(), RecordType::A));
    let found = Record::from_rdata(target, 300, RData::A(A::new(192, 0, 2, 1)));
    let outcome = Outcome { code: ResponseCode::NoError, answers: vec![found], authorities: Vec::new() };
    let answer = Message::from_vec(&waiting.finish(outcome)).expect("whole");
    let told: Vec<(RecordType, u32)> = answer.answers.iter().map(|record| (record.record_type(), record.ttl)).collect();
    assert_eq!(told, [(RecordType::CNAME, TTL), (RecordType::A, TTL)]);
    let lost = Message::from_vec(&pending(&asked).finish(Outcome::failed())).expect("whole");
    assert_eq!((lost.metadata.response_code, lost.answers.len()), (ResponseCode::ServFail, 1));
    let (only, _) = answered(&question("mail.shop.svc.cluster.local.", RecordType::CNAME), Transport::Udp);
    assert_eq!(only.answers.len(), 1);
}

#[test]
fn an_external_name_may_be_one_of_ours() {
    let answer = |name: &str| answered(&question(name, RecordType::A), Transport::Udp).0;
    let inner = answer("inner.shop.svc.cluster.local.");
    assert_eq!(inner.answers[1].data, RData::A(A::new(10, 96, 0, 10)));
    let lost = answer("lost.shop.svc.cluster.local.");
    assert_eq!((lost.metadata.response_code, lost.answers.len()), (ResponseCode::NXDomain, 1));
    assert_eq!(answer("again.shop.svc.cluster.local.").answers.len(), 1, "one step, so that no circle is walked");
}

proptest! {
    #[test]
    fn any_bytes_are_survived_and_never_answered_at_length(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Handled::Answered(answer) = handle(&bytes, Transport::Udp, &zone(), 0) {
            prop_assert!(answer.len() <= usize::from(UDP_MAX));
            prop_assert!(answer[2] & 0x80 != 0, "it says that it is an answer");
        }
    }

    #[test]
    fn a_question_with_broken_bytes_is_survived(
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes(&with_edns(question("_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV), 1_232, 0));
        for (index, byte) in at {
            let length = bytes.len();
            bytes[index.index(length)] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Handled::Answered(answer) = handle(&bytes, Transport::Udp, &zone(), 0) {
            prop_assert!(answer.len() <= usize::from(UDP_MAX));
        }
    }
}
