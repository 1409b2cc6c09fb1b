//! Tests that the import reads the arguments of `http-check send` one by one, in any order.

use lb_import::{File, Import, Input, import};

fn imported(send: &str) -> Import {
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
    import(&input).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_path_of_a_check_is_carried_over_wherever_it_stands() {
    for send in [
        "meth GET uri /ready",
        "uri /ready meth GET",
        "uri /ready",
        "uri /ready hdr uri /value",
        "uri /ready body uri",
    ] {
        let configuration = imported(send).configuration;
        assert!(
            configuration.contains("path = \"/ready\""),
            "{send}:\n{configuration}"
        );
    }
}

#[test]
fn an_argument_that_the_check_of_lb_does_not_have_is_named() {
    for (send, named) in [
        ("uri /ready body ping", "lb's check has no body"),
        ("uri-lf /%[date] body-lf x", "lb's check has no uri-lf"),
        (
            "hdr X-Probe yes uri /ready",
            "lb's check sends no header X-Probe",
        ),
        ("meth HEAD uri /ready", "lb checks by GET, not by HEAD"),
    ] {
        let notes = imported(send).notes;
        let of_send = |note: &&lb_import::Note| note.directive.line == 8;
        let whys: Vec<_> = notes
            .iter()
            .filter(of_send)
            .map(|note| &*note.why)
            .collect();
        assert!(whys.contains(&named), "{send}: {whys:?}");
    }
}
