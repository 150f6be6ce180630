//! A command that is too large is refused by itself: nobody else who shares its moment notices.

use donjon_tests::Server;
use serde_json::json;

#[test]
fn an_oversized_command_is_refused_alone() {
    let server = Server::start().unwrap();
    let ids: Vec<String> = (0..1_800_000u64).map(|n| (n + 1_000_000_000).to_string()).collect();
    let body = json!({ "ids": ids });
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut client = server.client();
            (0..300)
                .map(|n| {
                    client
                        .post("/alerts/event", &json!({"name": format!("n{n}")}))
                        .unwrap()
                        .status
                })
                .collect::<Vec<_>>()
        });
        let refused = server.client().post("/alerts/event/error/dismiss", &body).unwrap();
        assert_eq!(refused.status, 413, "{}", refused.text());
        assert!(
            others.join().unwrap().iter().all(|status| *status == 202),
            "others go on"
        );
    });
}
