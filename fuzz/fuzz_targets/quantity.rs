//! Any text as an amount: what is read is printed in a form that reads the same.
#![no_main]

use driftless::model::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(amount) = serde_json::from_value::<Quantity>(text.into()) else { return };
    let printed = serde_json::to_value(amount).expect("JSON");
    assert_eq!(serde_json::from_value::<Quantity>(printed).expect("an amount"), amount);
    assert_eq!(serde_json::from_value::<Quantity>(amount.canonical().into()).expect("an amount"), amount);
});
