//! Table and types agree, in both directions.
//!
//! Documents are made from the table: for every supported field one with it, in two values. What reads the same in both has been lost
//! on the way into the types. The other way round, a reader that asks every type for its fields looks each of them up in the table.

use super::*;
use crate::manifest::draft::DraftBody;
use crate::manifest::findings::Findings;
use crate::manifest::table::{Field, Shape, Table, Type};
use crate::manifest::{check, typed, yaml};
use crate::model::{Kind, Meta, PodTemplate};
use serde_json::{Map, Value, json};

/// Fields whose value makes no difference on purpose, and why.
const WITHOUT_DIFFERENCE: &[(&str, &str)] = &[
    ("ScaleTarget.apiVersion", "the kind says it"),
    ("Secret.type", "any is accepted; it is for people and tools"),
    ("ClaimTemplate.apiVersion", "a claim template is a claim"),
    ("ClaimTemplate.kind", "a claim template is a claim"),
    ("CronJobSpec.timeZone", "a zone has to be one of the database: manifest/tests/batch.rs"),
    ("JobSpec.podReplacementPolicy", "a pod is replaced once it has ended, whichever is written"),
];

/// Fields that only make sense together with others, and are tested where those are: the samples leave the others out.
const TOGETHER: &[(&str, &str)] = &[
    ("Metric", "type and source belong together: manifest/tests/scale.rs"),
    ("ResourceMetric", "its target does: manifest/tests/scale.rs"),
    ("ContainerResourceMetric", "its target does: manifest/tests/scale.rs"),
    ("MetricTarget", "type and value belong together: manifest/tests/scale.rs"),
];

/// Values of any form; the first that fits stands where one is needed, the next two for all values of a field.
fn candidates() -> Vec<Value> {
    let numbers = [json!(10), json!(1), json!(2), json!(101), json!(102), json!(true), json!(false)];
    let texts = [
        "YQ==",
        "Yg==",
        "Yw==",
        "a",
        "b",
        "c",
        "/a",
        "/b",
        "/c",
        "1",
        "2",
        "10.0.0.1",
        "10.0.0.2",
        "90s",
        "2m",
        "25%",
        "30%",
        "* * * * *",
        "1 * * * *",
        "ReadWriteOnce",
        "ReadWriteMany",
        "Kind/a",
        "Kind/b",
        "net.core.somaxconn",
        "kernel.shm_rmid_forced",
    ];
    numbers.into_iter().chain(texts.map(Value::from)).collect()
}

/// The values of a scalar row that are tried.
fn values(table: &Table, name: &str, row: &Field) -> Vec<Value> {
    let listed = row.keywords.get("enum").and_then(Value::as_array).cloned();
    let mut fitting = listed.unwrap_or_else(candidates);
    if let Some(Type::Scalar { schema, .. }) = table.types.get(name) {
        let schema: Map<String, Value> = schema.clone().into_iter().chain(row.keywords.clone()).collect();
        let validator = jsonschema::draft202012::new(&Value::Object(schema)).expect("a schema");
        fitting.retain(|value| validator.is_valid(value));
    }
    fitting
}

/// The least document of a shape: what is required, and the first of what excludes each other.
fn least(table: &Table, shape: Shape<'_>, row: &Field) -> Value {
    match shape {
        Shape::List(name) => json!([least(table, Shape::One(name), row)]),
        Shape::Map(name) => json!({"k": least(table, Shape::One(name), row)}),
        Shape::One(name) => match table.types.get(name) {
            Some(Type::Object { fields, exactly_one, .. }) => {
                let one = exactly_one.iter().find(|name| fields[*name].state() == "supported");
                let wanted = fields.iter().filter(|(name, field)| field.required || Some(*name) == one);
                wanted
                    .map(|(name, field)| (name.clone(), least(table, field.shape(), field)))
                    .collect::<Map<String, Value>>()
                    .into()
            }
            Some(Type::Scalar { .. }) | None => values(table, name, row).into_iter().next().unwrap_or(Value::Null),
        },
    }
}

/// Two documents for every supported scalar field: its owner, its name, and the two.
struct Documents<'t> {
    table: &'t Table,
    seen: Vec<(String, String, [Value; 2])>,
}

impl Documents<'_> {
    /// `wrap` puts a value of this shape into a whole document; `trail` keeps types from repeating.
    fn below(&mut self, owner: &str, trail: &[&str], wrap: &dyn Fn(Value) -> Value) {
        let Some(Type::Object { fields, exactly_one, at_most_one, .. }) = self.table.types.get(owner) else { return };
        if trail.contains(&owner) {
            return;
        }
        let trail = [trail, &[owner]].concat();
        let base = least(self.table, Shape::One(owner), &Field::default());
        for (name, field) in fields.iter().filter(|(_, field)| field.state() == "supported") {
            let with = |value: Value| {
                let mut object = base.clone();
                let map = object.as_object_mut().expect("an object");
                for others in [exactly_one, at_most_one].into_iter().filter(|group| group.contains(name)) {
                    others.iter().for_each(|other| drop(map.remove(other)));
                }
                map.insert(name.clone(), value);
                wrap(object)
            };
            let (target, within): (&str, fn(Value) -> Value) = match field.shape() {
                Shape::One(target) => (target, |value| value),
                Shape::List(target) => (target, |value| json!([value])),
                Shape::Map(target) => (target, |value| json!({"k": value})),
            };
            if self.table.fields(target).is_some() {
                self.below(target, &trail, &|value| with(within(value)));
                continue;
            }
            // An only value makes no difference.
            if let [first, second] | [_, first, second, ..] = values(self.table, target, field).as_slice() {
                let pair = [first, second].map(|value| with(within(value.clone())));
                self.seen.push((owner.to_owned(), name.clone(), pair));
            }
        }
    }
}

/// A document as its types have it: everything but what is only its text.
#[derive(Debug, PartialEq)]
struct Read {
    place: [Option<Value>; 2],
    meta: Meta,
    body: DraftBody,
}

fn read(kind: Kind, root: &str, document: &Value) -> Result<Read, String> {
    let text = document.to_string();
    let (documents, error) = yaml::read(&text, 1);
    assert_eq!(error, None, "{text}");
    let node = &documents[0].root;
    let mut value = node.to_value();
    let mut findings = Findings::new("f.yaml", node, String::new(), false);
    check::check(root, &mut value, &mut findings);
    let meta = typed::meta(&value);
    let body = if findings.has_errors() { None } else { typed::body(kind, &value, &meta, &mut findings) };
    let Some(mut body) = body else { return Err(lines(&findings.into_problems())) };
    if let DraftBody::Workload(workload) = &mut body {
        workload.template_digest = [0; 32];
    }
    Ok(Read { place: ["/metadata/name", "/metadata/namespace"].map(|pointer| value.pointer(pointer).cloned()), meta, body })
}

/// Every document that the table can make of one field, with its kind and root.
fn documents() -> Vec<(Kind, String, String, String, [Value; 2])> {
    let table = Table::get();
    let mut all = Vec::new();
    for (word, root) in &table.kinds.supported {
        let (api_version, name) = word.split_once(' ').expect("two words");
        let kind = Kind::named(name).expect("a kind of the model");
        let mut found = Documents { table, seen: Vec::new() };
        found.below(root, &[], &|mut document| {
            document["apiVersion"] = api_version.into();
            document["kind"] = name.into();
            document
        });
        all.extend(found.seen.into_iter().map(|(owner, field, pair)| (kind, root.clone(), owner, field, pair)));
    }
    all
}

#[test]
fn every_supported_field_makes_a_difference() {
    let (mut lost, mut compared) = (Vec::new(), 0);
    for (kind, root, owner, field, [first, second]) in documents() {
        let name = format!("{owner}.{field}");
        let is_expected = ["apiVersion", "kind"].contains(&field.as_str()) && owner == root
            || WITHOUT_DIFFERENCE.iter().any(|(known, _)| *known == name)
            || TOGETHER.iter().any(|(known, _)| *known == owner);
        if is_expected {
            continue;
        }
        match (read(kind, &root, &first), read(kind, &root, &second)) {
            (Ok(first_read), Ok(second_read)) if first_read != second_read => compared += 1,
            (Ok(_), Ok(_)) => lost.push(format!("{kind}: {name} is in the table, and lost on the way into the types: {first}")),
            (Err(error), _) | (_, Err(error)) => {
                lost.push(format!("{kind}: {name}: a sample is refused: {error}{first} {second}"))
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert!(compared > 300, "only {compared} fields were compared");
}

#[test]
fn printing_and_reading_back_is_the_identity_for_every_field() {
    for (kind, root, owner, field, pair) in documents() {
        for document in pair {
            let Ok(Read { body: DraftBody::Workload(workload), .. }) = read(kind, &root, &document) else { continue };
            let printed = serde_json::to_value(&workload.template).expect("JSON");
            let again: PodTemplate = serde_json::from_value(printed.clone()).expect("a template");
            assert_eq!(again, workload.template, "{kind} {owner}.{field}");
            assert_eq!(serde_json::to_value(&again).expect("JSON"), printed, "{kind} {owner}.{field}");
        }
    }
}

#[test]
fn every_field_of_a_type_has_a_row() {
    use crate::model::{ClaimSpec, DisruptionBudget, IngressSpec, NodeSpec, PriorityClass, ServiceSpec};
    let table = Table::get();
    let mut missing = Vec::new();
    let mut compare = |word: &str, pointer: &str, fields: Vec<String>| {
        let Some(root) = table.kinds.supported.get(word) else { return };
        assert!(!fields.is_empty(), "{word}");
        for field in fields {
            let whole = format!("{pointer}{field}");
            // What is below a refused field is refused with it.
            let mut above = whole.match_indices('/').skip(1).map(|(end, _)| &whole[..end]);
            let is_decided_above = above.any(|part| table.at(root, part).1.is_some_and(|row| row.state() != "supported"));
            if !is_decided_above && table.at(root, &whole).1.is_none() {
                missing.push(format!("{word}: {whole} is in the types, and has no row"));
            }
        }
    };
    compare("apps/v1 Deployment", "/spec/template", fields::of::<PodTemplate>());
    compare("v1 Service", "/spec", fields::of::<ServiceSpec>());
    compare("networking.k8s.io/v1 Ingress", "/spec", fields::of::<IngressSpec>());
    compare("v1 PersistentVolumeClaim", "/spec", fields::of::<ClaimSpec>());
    compare("v1 Node", "/spec", fields::of::<NodeSpec>());
    compare("scheduling.k8s.io/v1 PriorityClass", "", fields::of::<PriorityClass>());
    compare("policy/v1 PodDisruptionBudget", "/spec", fields::of::<DisruptionBudget>());
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Asks a type for the names of its fields, by pretending to be a document that has them all.
mod fields {
    use serde::de::value::StrDeserializer;
    use serde::de::{
        DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
    };
    use serde::forward_to_deserialize_any;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    type Error = serde::de::value::Error;

    /// The JSON pointers of all fields of a type, those of its parts included.
    pub(super) fn of<T: DeserializeOwned>() -> Vec<String> {
        let found = RefCell::new(BTreeSet::new());
        T::deserialize(Probe { path: String::new(), found: &found }).unwrap_or_else(|error| panic!("cannot ask: {error}"));
        found.into_inner().into_iter().collect()
    }

    #[derive(Clone)]
    struct Probe<'p> {
        path: String,
        found: &'p RefCell<BTreeSet<String>>,
    }

    impl Probe<'_> {
        fn step(&self, name: &str) -> Self {
            Self { path: format!("{}/{name}", self.path), found: self.found }
        }
    }

    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            names: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.found.borrow_mut().extend(names.iter().map(|name| self.step(name).path));
            visitor.visit_map(Entries { probe: self, names: names.to_vec() })
        }

        fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_map(Entries { probe: self, names: vec!["k"] })
        }

        fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_seq(Items { probe: Some(self.step("0")) })
        }

        fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_some(self)
        }

        fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_newtype_struct(self)
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            names: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            let first: StrDeserializer<'_, Error> = names.first().ok_or_else(|| Error::custom("no variant"))?.into_deserializer();
            visitor.visit_enum(first)
        }

        fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_bool(true)
        }

        fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_str("1")
        }

        fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_str("1")
        }

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_u64(1)
        }

        forward_to_deserialize_any! {
            i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
        }
    }

    struct Entries<'p> {
        probe: Probe<'p>,
        names: Vec<&'static str>,
    }

    impl<'de> MapAccess<'de> for Entries<'_> {
        type Error = Error;

        fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
            let Some(name) = self.names.last() else { return Ok(None) };
            let name: StrDeserializer<'_, Error> = name.into_deserializer();
            seed.deserialize(name).map(Some)
        }

        fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
            let name = self.names.pop().unwrap_or_default();
            seed.deserialize(self.probe.step(name))
        }
    }

    struct Items<'p> {
        probe: Option<Probe<'p>>,
    }

    impl<'de> SeqAccess<'de> for Items<'_> {
        type Error = Error;

        fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
            self.probe.take().map(|probe| seed.deserialize(probe)).transpose()
        }
    }
}

#[test]
fn the_table_page_is_the_table() {
    let page = include_str!("../../../docs/manifests.md");
    assert!(page.trim_end() == reference_markdown().trim_end(), "run: driftless schema --markdown > docs/manifests.md");
}

#[test]
fn every_supported_kind_has_a_schema_that_accepts_its_own_documents() {
    for (kind, api_version) in supported_kinds() {
        let schema = json_schema(kind).expect("a schema");
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let defs = schema["$defs"].as_object().expect("types");
        let is_its =
            |of: &Value| of["properties"]["apiVersion"]["const"] == api_version && of["properties"]["kind"]["const"] == kind;
        assert_eq!(defs.values().filter(|of| is_its(of)).count(), 1, "{api_version} {kind}");
    }
    let document = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}});
    let schema = json_schema("ConfigMap").expect("a schema");
    assert!(jsonschema::is_valid(&schema, &document));
    assert!(!jsonschema::is_valid(
        &schema,
        &serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})
    ));
}

#[test]
fn the_schema_of_a_kind_of_two_versions_holds_each_to_its_own_fields() {
    let schema = json_schema("HorizontalPodAutoscaler").expect("a schema");
    assert_eq!(schema["title"], "HorizontalPodAutoscaler");
    let is_valid = |version: &str, field: &str| {
        let mut document = json!({
            "apiVersion": format!("autoscaling/{version}"),
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "x"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3},
        });
        document["spec"][field] = if field == "metrics" { json!([]) } else { json!(50) };
        jsonschema::is_valid(&schema, &document)
    };
    assert!(is_valid("v2", "metrics") && is_valid("v1", "targetCPUUtilizationPercentage"));
    assert!(!is_valid("v1", "metrics") && !is_valid("v2", "targetCPUUtilizationPercentage"));
}
