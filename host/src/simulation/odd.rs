//! What senders put into alerts that few do: fields of old senders, values of another kind than is meant. Some of it is
//! refused; what is taken must read back. Knows nothing of what becomes of it.

use serde_json::{Value, json};

use super::dice::Dice;

/// Adds one to three odd fields to the body of an alert, which is said to have been received at `at`.
pub fn add(dice: &mut Dice, body: &mut Value, at: &str) {
    let values = [
        json!("me"),
        json!(5),
        json!(0.1),
        json!(true),
        Value::Null,
        json!("a\u{0}b"),
        json!({"who": "me"}),
        json!(["me"]),
    ];
    for _ in 0..1 + dice.below(3) {
        let value = dice.pick(&values).clone();
        let (field, value) = match dice.below(10) {
            0..3 => {
                body["lastReceived"] = json!(at);
                ("assignees", json!({at: value}))
            }
            3 => {
                body["lastReceived"] = json!(at);
                ("deleted", json!([at]))
            }
            4 => ("dismissed", json!("True")),
            5 => ("dismissUntil", dice.pick(&[json!(at), json!("forever"), value]).clone()),
            6 => ("url", json!(" example.org/a b%zz%20")),
            7 => (
                "startedAt",
                dice.pick(&[json!(at), json!("1764000000.5"), value]).clone(),
            ),
            8 => ("firingCounter", value),
            _ => (*dice.pick(&["assignee", "note", "description", "own"]), value),
        };
        body[field] = value;
    }
}
