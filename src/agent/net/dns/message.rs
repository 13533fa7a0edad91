//! From the bytes of a question to the bytes of its answer, pure but for what only other resolvers know.
//!
//! RFC 1035 for the form, RFC 6891 for EDNS, RFC 2308 for what is not there, RFC 8482 for `ANY`. Nothing is answered that is no
//! question, and an answer by UDP is never longer than [`UDP_MAX`], so that nobody is drowned by what somebody asked in his name.

use super::zone::{Alias, Answer, TTL, Zone};
use hickory_resolver::proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

/// The longest answer by UDP: what passes every network unfragmented (<https://www.dnsflagday.net/2020/>).
const UDP_MAX: u16 = 1232;

/// The longest answer by UDP to who does not say how much he takes: RFC 1035 section 4.2.1.
const UDP_PLAIN_MAX: u16 = 512;

/// The addresses of so many SRV targets are told along with them: more would only cut the records themselves off.
const ADDITIONALS_MAX: usize = 16;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// One datagram each way.
    Udp,
    /// A stream.
    Tcp,
}

/// What is to be done about a message.
#[derive(Debug)]
pub(super) enum Handled {
    /// Nothing: it is no question.
    Ignored,
    /// Send this back.
    Answered(Vec<u8>),
    /// Ask others first.
    Pending(Box<Pending>),
}

/// A question that others know the answer to.
#[derive(Debug)]
pub(super) struct Pending {
    draft: Draft,
    /// What to ask.
    pub(super) query: Query,
}

/// What others said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether there is an answer.
    pub(super) code: ResponseCode,
    /// The answer.
    pub(super) answers: Vec<Record>,
    /// Who says that there is none.
    pub(super) authorities: Vec<Record>,
}

impl Outcome {
    /// Nobody could be asked.
    pub(super) fn failed() -> Self {
        Self { code: ResponseCode::ServFail, answers: Vec::new(), authorities: Vec::new() }
    }
}

/// Looks at a message. `turn` says which of several records comes first.
pub(super) fn handle(bytes: &[u8], transport: Transport, zone: &Zone, turn: usize) -> Handled {
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else { return Handled::Ignored };
    if header.metadata.message_type == MessageType::Response {
        return Handled::Ignored;
    }
    let mut draft = Draft::new(&header.metadata, transport);
    let (query, request) = match question(bytes, &header) {
        Ok(question) => question,
        Err(code) => return Handled::Answered(draft.refuse(code)),
    };
    draft.message.add_query(query.clone());
    if let Some(edns) = &request.edns {
        draft.take_edns(edns, transport);
        if edns.version() > 0 {
            return Handled::Answered(draft.refuse(ResponseCode::BADVERS));
        }
    }
    if let Some(code) = refusal(&query) {
        return Handled::Answered(draft.refuse(code));
    }
    draft.look_up(query, zone, turn)
}

/// Reads the one question. What it would take to answer more, or to read a flood of records, is not there.
fn question(bytes: &[u8], header: &Header) -> Result<(Query, Message), ResponseCode> {
    if header.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let counts = header.counts;
    if counts.queries != 1 || counts.answers > 0 || counts.authorities > 0 || counts.additionals > 2 {
        return Err(ResponseCode::FormErr);
    }
    let mut request = Message::from_vec(bytes).map_err(|_| ResponseCode::FormErr)?;
    let query = request.queries.pop().ok_or(ResponseCode::FormErr)?;
    Ok((query, request))
}

/// What is never answered.
fn refusal(query: &Query) -> Option<ResponseCode> {
    if query.query_class() != DNSClass::IN {
        return Some(ResponseCode::Refused);
    }
    let never = [
        (RecordType::AXFR, ResponseCode::Refused),
        (RecordType::IXFR, ResponseCode::Refused),
        (RecordType::ANY, ResponseCode::NotImp),
        (RecordType::OPT, ResponseCode::FormErr),
        (RecordType::TSIG, ResponseCode::FormErr),
        (RecordType::ZERO, ResponseCode::FormErr),
    ];
    never.into_iter().find(|(kind, _)| *kind == query.query_type()).map(|(_, code)| code)
}

/// An answer in the making.
#[derive(Debug)]
struct Draft {
    message: Message,
    bytes_max: u16,
}

impl Draft {
    fn new(asked: &Metadata, transport: Transport) -> Self {
        let mut message = Message::response(asked.id, asked.op_code);
        message.metadata.recursion_desired = asked.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.checking_disabled = asked.checking_disabled;
        let bytes_max = match transport {
            Transport::Udp => UDP_PLAIN_MAX,
            Transport::Tcp => u16::MAX,
        };
        Self { message, bytes_max }
    }

    fn take_edns(&mut self, asked: &Edns, transport: Transport) {
        if transport == Transport::Udp {
            self.bytes_max = asked.max_payload().clamp(UDP_PLAIN_MAX, UDP_MAX);
        }
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX).set_version(0);
        self.message.set_edns(edns);
    }

    fn look_up(mut self, query: Query, zone: &Zone, turn: usize) -> Handled {
        match zone.look_up(query.name(), query.query_type(), turn) {
            Answer::Foreign if self.message.metadata.recursion_desired => self.wait_for(query),
            // Whoever wants no recursion asks for what we know ourselves.
            Answer::Foreign => Handled::Answered(self.refuse(ResponseCode::Refused)),
            Answer::Records { answers, mut additionals } => {
                additionals.truncate(ADDITIONALS_MAX);
                self.message.metadata.authoritative = true;
                self.message.add_answers(answers).add_additionals(additionals);
                Handled::Answered(self.encode())
            }
            Answer::Alias(alias) => self.follow(*alias, &query, zone, turn),
            Answer::NoData => Handled::Answered(self.negative(ResponseCode::NoError, &query, zone)),
            Answer::NoName => Handled::Answered(self.negative(ResponseCode::NXDomain, &query, zone)),
        }
    }

    /// The alias, and what its target stands for: RFC 1034 section 3.6.2. A target that is another alias of ours is not followed further.
    fn follow(mut self, Alias { record, target }: Alias, query: &Query, zone: &Zone, turn: usize) -> Handled {
        self.message.metadata.authoritative = true;
        self.message.add_answer(record);
        if query.query_type() == RecordType::CNAME {
            return Handled::Answered(self.encode());
        }
        match zone.look_up(&target, query.query_type(), turn) {
            Answer::Foreign => self.wait_for(Query::query(target, query.query_type())),
            Answer::Records { answers, .. } => {
                self.message.add_answers(answers);
                Handled::Answered(self.encode())
            }
            Answer::Alias(..) => Handled::Answered(self.encode()),
            Answer::NoData => Handled::Answered(self.negative(ResponseCode::NoError, query, zone)),
            Answer::NoName => Handled::Answered(self.negative(ResponseCode::NXDomain, query, zone)),
        }
    }

    fn wait_for(self, query: Query) -> Handled {
        Handled::Pending(Box::new(Pending { draft: self, query }))
    }

    fn negative(mut self, code: ResponseCode, query: &Query, zone: &Zone) -> Vec<u8> {
        self.message.metadata.authoritative = true;
        self.message.metadata.response_code = code;
        self.message.add_authority(zone.negative(query.name()));
        self.encode()
    }

    fn refuse(mut self, code: ResponseCode) -> Vec<u8> {
        self.message.metadata.response_code = code;
        self.encode()
    }

    /// The bytes. What does not fit is cut off between two records, and said to be.
    fn encode(mut self) -> Vec<u8> {
        let mut bytes = self.write();
        if is_truncated(&bytes) {
            // What only helps is left out before what was asked for.
            self.message.additionals.clear();
            bytes = self.write();
        }
        if is_truncated(&bytes) && self.message.edns.is_some() {
            // Who speaks EDNS comes again by TCP, and must see that we speak it; others make do with the part that fits.
            self.message = self.message.truncate();
            bytes = self.write();
        }
        bytes
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::from(UDP_PLAIN_MAX));
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(self.bytes_max);
        if self.message.emit(&mut encoder).is_ok() {
            return bytes;
        }
        // A record that cannot be written, which nobody should have given us.
        let failed = Message::error_msg(self.message.metadata.id, OpCode::Query, ResponseCode::ServFail);
        failed.to_vec().unwrap_or_default()
    }
}

/// The bit `TC` of RFC 1035 section 4.1.1.
fn is_truncated(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0b10 != 0)
}

impl Pending {
    /// The bytes of the answer, with what others said.
    pub(super) fn finish(mut self, outcome: Outcome) -> Vec<u8> {
        let message = &mut self.draft.message;
        message.metadata.response_code = outcome.code;
        // An alias of ours is remembered no longer than it should be; what it stands for is others' business.
        let is_alias = !message.answers.is_empty();
        let shorten = |mut record: Record| {
            record.ttl = if is_alias { record.ttl.min(TTL) } else { record.ttl };
            record
        };
        message.add_answers(outcome.answers.into_iter().map(shorten)).add_authorities(outcome.authorities);
        self.draft.encode()
    }
}

#[cfg(test)]
mod tests;
