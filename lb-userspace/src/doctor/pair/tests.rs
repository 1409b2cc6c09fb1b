use super::*;
use crate::doctor::State;

fn ha(source: &str, peer: &str) -> Ha {
    let text = format!(
        "[node]\nname = \"lb-a\"\ninterface = \"eth0\"\n\
         [[pool]]\nname = \"web\"\nbackends = [\"10.0.0.6:80\"]\n\
         [[service]]\nname = \"http\"\nlisten = \"{source}:80\"\nmode = \"http\"\npool = \"web\"\n\
         [ha]\npeer = \"{peer}\"\nsource = \"{source}\"\nvirtual_router_id = 41\n\
         [ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]\n\
         [ha.link]\nsecret_file = \"/etc/lb/peer.secret\"\n"
    );
    let parsed = Config::parse(Path::new("lb.toml"), &text);
    let parsed = parsed.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    parsed.config.ha.expect("a pair")
}

fn lower() -> Ha {
    ha("172.31.0.68", "172.31.15.233")
}

fn judged(heard: Heard, role: Option<Role>, peer_runs: Option<bool>) -> Finding {
    let place = Place { role, peer_runs };
    adverts(&lower(), Ok(heard), place, Duration::from_secs(1))
}

#[test]
fn silence_is_right_only_on_the_active_host() {
    let state = |role, peer| judged(Heard::Nothing, role, peer).state;
    assert_eq!(state(Some(Role::Master), None), State::Skipped);
    assert_eq!(state(Some(Role::Backup), None), State::Fail);
    assert_eq!(
        state(None, Some(true)),
        State::Fail,
        "its agent runs, and must be active"
    );
    assert_eq!(state(None, Some(false)), State::Warn);
    assert_eq!(state(None, None), State::Warn);
    let fix = judged(Heard::Nothing, Some(Role::Backup), None)
        .fix
        .expect("a fix");
    assert!(
        fix.contains("IP protocol 112") && fix.contains("security groups"),
        "{fix}"
    );
}

#[test]
fn adverts_are_right_unless_this_host_is_active_or_they_are_of_another_router() {
    let state = |router, role| judged(Heard::Router(router), role, None).state;
    assert_eq!(state(41, Some(Role::Backup)), State::Ok);
    assert_eq!(state(41, None), State::Ok);
    assert_eq!(
        state(41, Some(Role::Master)),
        State::Fail,
        "both are active"
    );
    assert_eq!(state(42, None), State::Fail);
    assert!(judged(Heard::Router(42), None, None).found.contains("42"));
}

#[test]
fn a_host_that_dials_tells_a_stopped_agent_from_a_firewall() {
    let state = |ha: &Ha, reached| first_link(ha, 9146, &reached).state;
    assert_eq!(state(&lower(), Reached::Yes), State::Ok);
    assert_eq!(state(&lower(), Reached::Refused), State::Warn);
    assert_eq!(state(&lower(), Reached::Silent), State::Fail);
    // The host with the higher address only waits for the peer to connect, so it cannot tell a
    // stopped agent from a firewall.
    let higher = ha("172.31.15.233", "172.31.0.68");
    assert_eq!(state(&higher, Reached::Silent), State::Warn);
    let error = Reached::of(Err(io::ErrorKind::AddrNotAvailable.into()));
    assert_eq!(state(&lower(), error), State::Fail);
}

#[test]
fn a_link_that_is_down_has_the_agents_reason() {
    assert_eq!(running_link(&lower(), 9146, true, None).state, State::Ok);
    let down = running_link(&lower(), 9146, false, Some("the secrets differ"));
    assert_eq!(down.state, State::Fail);
    assert!(down.found.contains("the secrets differ"));
    assert!(down.fix.expect("a fix").contains("TCP port 9146"));
}

#[test]
fn a_peer_that_was_refused_has_the_advice_of_the_reason() {
    let fix = |why: &str| {
        let problem = format!("{PEER_REFUSED}{why}");
        let finding = running_link(&lower(), 9146, false, Some(&problem));
        assert_eq!(finding.state, State::Fail);
        (finding.found, finding.fix.expect("a fix"))
    };
    let (found, advice) = fix("it does not have this pair's secret; copy the file");
    assert_eq!(
        (found.as_str(), advice.as_str()),
        (
            "not connected: the peer was refused: it does not have this pair's secret",
            "copy the file"
        )
    );
    let (found, advice) = fix("its greeting is malformed");
    assert!(found.ends_with("its greeting is malformed"), "{found}");
    assert!(advice.contains("journalctl -u lb"), "{advice}");
}

#[test]
fn a_secret_that_belongs_to_the_agents_user_is_shown_by_its_fingerprint() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("peer.secret");
    let made = Secret::create(&path, false).expect("made");
    std::os::unix::fs::chown(&path, Some(4242), Some(4243)).expect("chown");
    let judged = |user| {
        let account = Account { user, group: 4243 };
        secret(&path, Secret::read_as(&path, account.reader()), account)
    };
    let ours = judged(4242);
    assert_eq!(ours.state, State::Ok);
    assert!(ours.found.contains(&made.fingerprint()), "{}", ours.found);
    assert_eq!(judged(4244).state, State::Fail, "of another user");
}

#[test]
fn a_secret_that_is_missing_or_open_has_its_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("peer.secret");
    let judged = || secret(&path, Secret::read(&path), Account::of(None));
    let missing = judged();
    assert_eq!(missing.state, State::Fail);
    assert!(missing.fix.expect("a fix").contains("lb peer init --out"));
    Secret::create(&path, false).expect("made");
    assert_eq!(judged().state, State::Ok);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, mode).expect("its mode");
    let open = judged();
    assert_eq!(open.state, State::Fail);
    assert_eq!(open.fix, Some(format!("`chmod 600 {}`", path.display())));
}
