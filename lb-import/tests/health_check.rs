//! The order of the arguments of `http-check send` does not matter.

use lb_import::{File, Input, import};

fn configuration(send: &str) -> String {
    let text = format!(
        "frontend web\n bind 192.0.2.1:80\n mode http\n default_backend app\nbackend app\n mode http\n \
         option httpchk\n http-check send {send}\n server a 10.0.0.6:80 check\n"
    );
    let input = Input {
        haproxy: Some(File {
            name: "haproxy.cfg",
            text: &text,
        }),
        ..Input::default()
    };
    let imported = import(&input).unwrap_or_else(|errors| panic!("{errors}"));
    imported.configuration
}

#[test]
fn the_path_of_a_check_is_carried_over_wherever_it_stands() {
    for send in ["meth GET uri /ready", "uri /ready meth GET", "uri /ready"] {
        let configuration = configuration(send);
        assert!(
            configuration.contains("path = \"/ready\""),
            "{send}:\n{configuration}"
        );
    }
}
