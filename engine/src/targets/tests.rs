//! Targets: what matches, what is refused, and the order of a rollout.

use super::*;

fn target(key: &str, values: &[&str]) -> Target {
    Target { key: key.to_owned(), values: values.iter().map(|value| (*value).to_owned()).collect() }
}

/// Whether the node `bits` with `tags` is meant by `targets`, with the groups `web` and `lambdas`.
fn matches(targets: &[Target], tags: &[(&str, &str)]) -> bool {
    let groups = [
        (
            "web",
            r#"{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"Stage","Values":["Test","QA"]},{"Key":"Web","Values":[]}]}"#,
        ),
        ("lambdas", r#"{"ResourceTypeFilters":["AWS::Lambda::Function"],"TagFilters":[{"Key":"Stage"}]}"#),
    ];
    let groups = groups.map(|(name, query)| (name.to_owned(), ResourceGroup::parse(query).expect("query")));
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let node = TargetNode { id: &NodeId::from_bits(1), tags: &tags, operating_system: OperatingSystem::Debian };
    TargetSpec::parse(targets).expect("targets").matches(&node, &groups.into_iter().collect())
}

fn refused(targets: &[Target]) -> TargetError {
    TargetSpec::parse(targets).expect_err("refused")
}

#[test]
fn ids_match_in_any_spelling_of_the_key() {
    let (own, other) = (NodeId::from_bits(1), NodeId::from_bits(2));
    for key in ["InstanceIds", "instanceids", "instanceIds"] {
        assert!(matches(&[target(key, &[other.as_str(), own.as_str()])], &[]));
        assert!(!matches(&[target(key, &[other.as_str()])], &[]));
    }
}

#[test]
fn any_value_of_a_tag_suffices_and_every_key_is_needed() {
    let stage = target("tag:Stage", &["Test", "QA"]);
    let role = target("tag:Role", &["db"]);
    assert!(matches(std::slice::from_ref(&stage), &[("Stage", "QA")]));
    assert!(!matches(std::slice::from_ref(&stage), &[("Stage", "Prod")]));
    assert!(!matches(std::slice::from_ref(&stage), &[("stage", "QA")]));
    assert!(!matches(std::slice::from_ref(&stage), &[("Stage", "qa")]));
    assert!(!matches(&[stage.clone(), role.clone()], &[("Stage", "QA")]));
    assert!(matches(&[stage, role], &[("Stage", "QA"), ("Role", "db")]));
}

#[test]
fn tag_key_needs_all_keys_with_any_value() {
    let both = [target("tag-key", &["Stage", "Role"])];
    assert!(!matches(&both, &[("Stage", "QA")]));
    assert!(matches(&both, &[("Stage", ""), ("Role", "db")]));
}

#[test]
fn resource_group_is_its_query() {
    let web = [target("resource-groups:Name", &["web"])];
    assert!(matches(&web, &[("Stage", "QA"), ("Web", "")]));
    assert!(!matches(&web, &[("Stage", "QA")]));
    assert!(!matches(&web, &[("Stage", "Prod"), ("Web", "")]));
    assert!(!matches(&[target("resource-groups:Name", &["gone"])], &[("Stage", "QA")]));
    assert!(!matches(&[target("resource-groups:Name", &["lambdas"])], &[("Stage", "QA")]));

    let filter = |kind| [web[0].clone(), target("resource-groups:ResourceTypeFilters", &[kind])];
    assert!(matches(&filter("AWS::EC2::INSTANCE"), &[("Stage", "QA"), ("Web", "")]));
    assert!(!matches(&filter("AWS::RDS::DBInstance"), &[("Stage", "QA"), ("Web", "")]));
}

#[test]
fn patch_group_has_two_spellings_and_one_value() {
    for key in ["tag:Patch Group", "tag:PatchGroup"] {
        let web = [target(key, &["web"])];
        assert!(matches(&web, &[("Patch Group", "web")]));
        assert!(matches(&web, &[("PatchGroup", "web")]));
        assert!(!matches(&web, &[("PatchGroup", "db"), ("Patch Group", "web")]), "PatchGroup wins");
        assert!(!matches(&web, &[("patch group", "web")]));
    }
    assert_eq!(patch_group(&BTreeMap::new()), None);
}

#[test]
fn counts_are_limited() {
    assert_eq!(refused(&[]), TargetError::KeyCount { count: 0 });
    assert_eq!(refused(&vec![target("tag:A", &["a"]); 6]), TargetError::KeyCount { count: 6 });
    for (key, count, max) in [
        ("InstanceIds", 0, 50),
        ("InstanceIds", 51, 50),
        ("tag:A", 0, 50),
        ("tag:A", 51, 50),
        ("tag-key", 6, 5),
        ("resource-groups:Name", 2, 1),
    ] {
        let expected = TargetError::ValueCount { key: key.to_owned(), count, max };
        assert_eq!(refused(&[target(key, &vec!["x"; count])]), expected);
    }
}

#[test]
fn errors_name_key_value_and_what_is_allowed() {
    for (key, value, parts) in [
        ("InstanceIds", "mi-1", ["`InstanceIds`", "`mi-1`", "17 hex digits"]),
        ("InstanceIds", "*", ["`InstanceIds`", "`*`", "17 hex digits"]),
        ("tag:", "x", ["`tag:`", "``", "1 to 128"]),
        ("tag-key", "", ["`tag-key`", "``", "1 to 128"]),
        ("resource-groups:Name", "", ["`resource-groups:Name`", "``", "name of a resource group"]),
        ("WindowTargetIds", "x", ["`WindowTargetIds`", "unknown", "`InstanceIds`"]),
        ("Tag:Stage", "x", ["`Tag:Stage`", "unknown", "`tag:<key>`"]),
        (
            "resource-groups:ResourceTypeFilters",
            "AWS::EC2::Instance",
            ["`resource-groups:ResourceTypeFilters`", "alone", "`resource-groups:Name`"],
        ),
    ] {
        let message = refused(&[target(key, &[value])]).to_string();
        for part in parts {
            assert!(message.contains(part), "{message}: {part}");
        }
    }
    assert!(matches!(refused(&[target("tag:A", &[&"x".repeat(257)])]), TargetError::Value { .. }));
}

#[test]
fn named_nodes_and_groups_are_told() {
    let id = NodeId::from_bits(7);
    let targets =
        [target("tag:A", &["a"]), target("InstanceIds", &[id.as_str()]), target("resource-groups:Name", &["web"])];
    let spec = TargetSpec::parse(&targets).expect("targets");
    assert_eq!(spec.named_nodes(), Some([id.clone()].as_slice()));
    assert_eq!(spec.group_names().collect::<Vec<_>>(), ["web"]);
    assert_eq!(TargetSpec::parse(&targets[..1]).expect("targets").named_nodes(), None);
    let other = NodeId::from_bits(8);
    let twice = [target("InstanceIds", &[id.as_str()]), target("instanceids", &[other.as_str()])];
    let spec = TargetSpec::parse(&twice).expect("targets");
    assert_eq!(spec.ids().collect::<Vec<_>>(), [&id, &other], "however the key is spelled");
}

#[test]
fn queries_that_would_mean_every_node_or_nothing_known_are_refused() {
    for query in [
        "",
        "[]",
        "{}",
        r#"{"TagFilters":[]}"#,
        r#"{"TagFilters":[{"Key":""}]}"#,
        r#"{"TagFilters":[{"Values":["a"]}]}"#,
        r#"{"TagFilters":[{"Key":"A"}],"StackIdentifier":"x"}"#,
    ] {
        let error = ResourceGroup::parse(query).expect_err(query);
        assert!(error.to_string().contains("TagFilters"), "{error}");
    }
}

#[test]
fn stable_order_is_fixed_and_depends_on_the_salt() {
    // Stored by rollouts: these numbers must never change.
    assert_eq!(stable_order(&NodeId::from_bits(1), "a"), 0xd895_f66c_d5fc_af13);
    let order = |salt: &str| {
        let mut ids: Vec<u128> = (0..100).collect();
        ids.sort_by_key(|bits| stable_order(&NodeId::from_bits(*bits), salt));
        ids
    };
    assert_eq!(order("a"), order("a"));
    assert_ne!(order("a"), order("b"));
    assert_ne!(order("a"), (0..100).collect::<Vec<_>>());
}

#[test]
fn stable_order_spreads_neighbouring_ids() {
    let upper = (0..1_000).filter(|bits| stable_order(&NodeId::from_bits(*bits), "salt") >> 63 == 1).count();
    assert!((400..=600).contains(&upper), "{upper} of 1000 in the upper half");
}
