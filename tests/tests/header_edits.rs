//! Header edits of a service and of its routes, and redirects that keep the method, with real nginx
//! as the backends.

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{APP_PORT, Agent, Settings},
    topology::{CA_FILE, CLIENT, SITE},
    web::WWW,
};

/// Lines of the configuration of the service: its keys and its routes.
const EDITS: &str = r#"
[service.request_headers]
set = { X-App = "service {scheme} {host}{path}{query}", X-Real-IP = "{client_ip}" }
remove = ["X-Gone"]
[service.response_headers]
add = { X-Inner = "service" }
set = { X-Backend = "hidden" }
[[service.route]]
name = "inner"
path_prefix = "/inner"
pool = "app"
replace_prefix = "/echo"
request_headers = { set = { X-App = "route" } }
response_headers = { remove = ["X-Inner"], set = { X-Backend = "route" } }
[[service.route]]
name = "moved"
path_prefix = "/old"
redirect = { to = "https://{host}:PORT/upload{path}{query}", status = 308 }
"#;

fn curl(lab: &Lab, arguments: &[&str], path: &str) -> Result<String> {
    let url = format!("https://{SITE}:{APP_PORT}{path}");
    let common = ["-sS", "--cacert", CA_FILE];
    let all = [&common[..], arguments, &[&url]].concat();
    lab.client.run("curl", &all)
}

#[test]
fn edits_reach_nginx_and_clients_and_a_redirected_upload_arrives() -> Result<()> {
    let lab = Lab::raise()?;
    let mut settings = Settings::of(&lab).with_app("");
    settings.more += &EDITS.replace("PORT", &APP_PORT.to_string());
    let agent = Agent::start(&lab, &settings)?;
    for version in ["--http1.1", "--http2"] {
        let get = |path: &str| {
            let sent = [
                "-i",
                version,
                "-H",
                "X-App: client",
                "-H",
                "x_gone: 1",
                "-H",
                "X-Gone: 2",
            ];
            let page = curl(
                &lab,
                &[&sent[..], &["-H", "X-Real-IP: 192.0.2.1"]].concat(),
                path,
            )?;
            // Field names are in lower case in HTTP/2, so the head is compared in lower case.
            let (head, body) = page.split_once("\r\n\r\n").unwrap_or((&page, ""));
            Ok::<_, anyhow::Error>((head.to_ascii_lowercase() + "\r\n", body.to_owned()))
        };
        let (head, body) = get("/echo?a=b")?;
        let wanted = format!("app: service https {SITE}/echo?a=b\ngone: \nreal-ip: {CLIENT}\n");
        ensure!(body == wanted, "{version}: nginx saw\n{body}");
        for line in [
            "\r\nx-inner: nginx\r\n",
            "\r\nx-inner: service\r\n",
            "\r\nx-backend: hidden\r\n",
        ] {
            ensure!(
                head.contains(line),
                "{version}: {line:?} is missing:\n{head}"
            );
        }
        ensure!(
            head.matches("x-backend:").count() == 1,
            "{version}:\n{head}"
        );

        let (head, body) = get("/inner")?;
        let wanted = format!("app: route\ngone: \nreal-ip: {CLIENT}\n");
        ensure!(body == wanted, "{version}: nginx saw\n{body}");
        ensure!(
            head.contains("\r\nx-backend: route\r\n") && !head.contains("x-inner"),
            "{version}:\n{head}"
        );

        // Status 308 keeps the method and the body (RFC 9110 §15.4.9).
        let name = format!("/old/{}", version.trim_start_matches('-'));
        let body = format!("uploaded over {version}");
        let sent = [
            "--location",
            "--request",
            "PUT",
            "--data-binary",
            &body,
            version,
        ];
        let status = [
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %{num_redirects}",
        ];
        let said = curl(&lab, &[&sent[..], &status].concat(), &name)?;
        ensure!(said == "201 1", "{version}: {said}");
        let file = format!("{WWW}/upload{name}");
        let kept: Vec<_> = lab
            .webs
            .iter()
            .filter_map(|web| web.host().read(&file).ok())
            .collect();
        ensure!(kept == [body], "{version}: {kept:?}");
    }
    let taken = |route| {
        let metrics = agent.metrics()?;
        Ok::<_, anyhow::Error>(metrics.sum("lb_http_route_requests_total", &[("route", route)]))
    };
    ensure!(taken("inner")? == 2.0 && taken("moved")? == 2.0);
    Ok(())
}
