//! The rules of precedence and the checks, without a process.

use std::path::PathBuf;

use super::*;

fn sources(given: &[(Setting, &str)], file: &str) -> Sources {
    Sources {
        given: given.iter().map(|(s, value)| (*s, Origin::Flag(s.flag()), (*value).to_owned())).collect(),
        file: Some((PathBuf::from("patchwave.toml"), file.to_owned())),
    }
}

fn faults(given: &[(Setting, &str)], file: &str, role: Role) -> Vec<String> {
    match Config::load(&sources(given, file), role) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_reference_file_names_every_setting_and_is_valid() {
    let (_, faults) = Effective::gather(&Sources::default());
    assert_eq!(faults, []);
    for setting in Setting::ALL {
        assert!(DEFAULTS.contains(&format!("\n{} = ", setting.key())), "{}", setting.key());
    }
    let config = Config::load(&Sources::default(), Role::All).expect("the defaults are valid");
    assert!(config.data_dir.is_absolute());
    assert_eq!(config.store.as_str(), format!("sqlite://{}/patchwave.db", config.data_dir.display()));
}

#[test]
fn every_fault_is_reported_at_once() {
    let file = "lisen = \"127.0.0.1:1\"\nstore = 7\nlog_format = \"xml\"\n";
    let given = [(Setting::Listen, "0.0.0.0:8080"), (Setting::Bus, "kafka://x"), (Setting::Log, "a=b=c")];
    let found = faults(&given, file, Role::All);
    for key in ["lisen", "store", "log_format", "listen", "bus", "log "] {
        assert!(found.iter().any(|fault| fault.starts_with(key)), "{key} in {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn a_role_of_its_own_refuses_what_lives_inside_one_process() {
    for role in [Role::Scheduler, Role::Worker, Role::Api] {
        let found = faults(&[], "", role);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].starts_with("bus = `embedded` (from default)"), "{found:#?}");
        assert!(found[1].starts_with("topics = `embedded` (from default)"), "{found:#?}");
        assert!(found[0].contains("patchwave up"), "{found:#?}");
    }
    let shared = [(Setting::Bus, "amqp://u:p@127.0.0.1:5672/%2f"), (Setting::Topics, "redis://127.0.0.1:6379/0")];
    Config::load(&sources(&shared, ""), Role::Worker).expect("shared servers are accepted");
}

#[test]
fn faults_and_debug_hide_passwords() {
    let found =
        faults(&[(Setting::Bus, "amqp://user:hunter2@:5672/"), (Setting::Topics, "user:hunter2@host")], "", Role::All);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(!found.concat().contains("hunter2"), "{found:#?}");
    let given = [
        (Setting::Bus, "amqp://user:hunter2@host/"),
        (Setting::Store, "postgres://u:hunter2@host/db"),
        (Setting::BusManagement, "http://u:hunter2@host:15672"),
    ];
    let config = Config::load(&sources(&given, ""), Role::All).expect("valid");
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    assert_eq!(config.bus.as_str(), "amqp://user:hunter2@host/");
}

#[test]
fn a_syntax_error_names_the_line_without_showing_it() {
    let found = faults(&[], "listen = \"127.0.0.1:1\"\nbus = \"amqp://u:hunter2@h/\n", Role::All);
    assert!(found[0].starts_with("patchwave.toml, line 2"), "{found:#?}");
    assert!(!found.concat().contains("hunter2"), "{found:#?}");
}

#[test]
fn nodes_reach_the_broker_by_tls_or_on_this_machine() {
    for url in ["amqps://broker.internal/%2f", "amqp://127.0.0.1:5672/%2f", "amqp://localhost/", "amqp://[::1]/"] {
        let config = Config::load(&sources(&[(Setting::NodeBus, url)], ""), Role::All).expect(url);
        assert_eq!(config.node_bus.as_deref(), Some(url));
    }
}

#[test]
fn wrong_urls_say_what_is_missing() {
    for (setting, value, reason) in [
        (Setting::Bus, "rabbit", "no scheme"),
        (Setting::Bus, "amqp://", "no host"),
        (Setting::Bus, "amqp://host:port/", "not a URL"),
        (Setting::Store, "embedded", "no scheme"),
        (Setting::Store, "sqlite://", "no path"),
        (Setting::Store, "mysql://h/d", "scheme `mysql` is not known"),
        (Setting::Topics, "redis:///0", "no host"),
        (Setting::BusManagement, "amqp://u:p@h", "not http or https"),
        (Setting::BusManagement, "http://host:15672", "no user and password"),
        (Setting::Artifacts, "file://relative/path", "not absolute"),
        (Setting::Artifacts, "s3://bucket", "scheme `s3` is not known"),
        (Setting::Listen, "8080", "not an IP address and port"),
        (Setting::Listen, "192.168.1.4:80", "nothing would be encrypted"),
        (Setting::HealthListen, "0.0.0.0:80", "other machines can reach it"),
        (Setting::ListenInsecurely, "yes", "neither true nor false"),
        (Setting::TlsCert, "cert.pem", "no key"),
        (Setting::TlsKey, "key.pem", "no certificate"),
        (Setting::AccountId, "123", "not an account id"),
        (Setting::NodeBus, "amqp://broker.internal:5672/%2f", "without TLS"),
        (Setting::NodeBus, "amqps://node@broker.internal/%2f", "names a user"),
        (Setting::NodeBus, "https://broker.internal", "not a broker's URL"),
    ] {
        let found = faults(&[(setting, value)], "", Role::All);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(reason), "{value}: {found:#?}");
        assert!(found[0].contains("expected"), "{value}: {found:#?}");
    }
}

#[test]
fn other_machines_are_listened_to_with_a_certificate_or_leave() {
    let everywhere = (Setting::Listen, "0.0.0.0:8443");
    let tls = [everywhere, (Setting::TlsCert, "cert.pem"), (Setting::TlsKey, "key.pem")];
    let config = Config::load(&sources(&tls, ""), Role::All).expect("valid");
    assert_eq!(config.tls, Some((PathBuf::from("cert.pem"), PathBuf::from("key.pem"))));
    let leave = [everywhere, (Setting::ListenInsecurely, "true")];
    assert!(Config::load(&sources(&leave, ""), Role::All).expect("valid").listen_insecurely);
    assert_eq!(faults(&[everywhere], "", Role::All).len(), 1);
}

#[test]
fn nodes_of_up_are_read_from_text_and_numbers() {
    let file = "local_node = \"install\"\nlocal_node_tags = \"Patch Group=canary,Site=\"\nsimulate = 5\n";
    let given = [(Setting::SimulatePatchGroups, "canary,production=3"), (Setting::SimulateSeed, "7")];
    let nodes = Config::load(&sources(&given, file), Role::All).expect("valid").nodes;
    let local = nodes.local.expect("a local node");
    assert!(local.may_install && local.id.is_none());
    assert_eq!(local.tags.into_iter().collect::<Vec<_>>(), [("Patch Group", "canary"), ("Site", "")].map(own));
    assert_eq!((nodes.simulated, nodes.seed), (5, 7));
    assert_eq!(nodes.patch_groups, [("canary".to_owned(), 1), ("production".to_owned(), 3)]);
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn nodes_of_up_are_refused_with_what_is_allowed() {
    for (setting, value, parts) in [
        (Setting::LocalNode, "yes", ["`yes`", "`off`, `scan` or `install`"]),
        (Setting::LocalNodeId, "mi-1", ["`mi-1`", "17 hex digits"]),
        (Setting::LocalNodeTags, "canary", ["`canary`", "KEY=VALUE"]),
        (Setting::Simulate, "10001", ["`10001`", "0 to 10000"]),
        (Setting::SimulateSeed, "-1", ["`-1`", "0 or more"]),
        (Setting::SimulatePatchGroups, "canary=0", ["`canary=0`", "1 to 1000"]),
    ] {
        let found = faults(&[(setting, value)], "local_node = \"scan\"\nsimulate = 1\n", Role::All);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(setting.key()), "{found:#?}");
        assert!(parts.iter().all(|part| found[0].contains(part)), "{found:#?}");
    }
}

#[test]
fn nodes_of_up_need_the_embedded_bus_and_what_describes_them_needs_them() {
    let bus = (Setting::Bus, "amqp://u:hunter2@h/");
    for (setting, value) in [(Setting::LocalNode, "scan"), (Setting::Simulate, "1")] {
        let found = faults(&[bus, (setting, value)], "", Role::All);
        assert_eq!(found.len(), 1, "{found:#?}");
        for part in [setting.key(), value, "amqp://u:***@h/", "patchwave-agent", "embedded"] {
            assert!(found[0].contains(part), "{part} in {found:#?}");
        }
        assert!(!found[0].contains("hunter2"), "{found:#?}");
    }
    let found = faults(&[(Setting::LocalNodeTags, "a=b"), (Setting::SimulateSeed, "2")], "", Role::All);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("--local-node") && found[1].contains("--simulate"), "{found:#?}");
    Config::load(&sources(&[], "local_node_tags = \"a=b\"\nsimulate_seed = 2\n"), Role::All)
        .expect("a file may describe what is switched off");
}
