//! `access-key`: who may call the API.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use clap::{ArgMatches, Args, Subcommand};
use patchwave_api::access_keys::{NewAccessKey, create_offline as make_offline};
use patchwave_engine::access::{NodePolicy, Role};
use serde_json::{Value, json};

use super::pairs::{Pair, parse_pair};
use super::request::Request;
use super::window::elements;
use super::{Context, server};
use crate::args::GlobalArgs;
use crate::config::ConfigArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::{roles, table};

/// Bytes of a secret on standard input that are read; real ones have 40.
const SECRET_BYTES_MAX: u64 = 1_024;

/// Access keys.
#[derive(Debug, Subcommand)]
pub enum AccessKeyCommand {
    /// Make an access key; its secret is shown this once
    Create(Box<CreateArgs>),
    /// Take over an access key; its secret is read from standard input
    Import {
        /// Its id, 16 to 128 letters, digits and `_`
        #[arg(long, value_name = "ID")]
        access_key_id: String,
        /// What it may do
        #[command(flatten)]
        rights: Rights,
    },
    /// List the access keys
    List,
    /// Accept an access key again
    Enable {
        /// Its id
        id: String,
    },
    /// Refuse an access key until it is enabled again
    Disable {
        /// Its id
        id: String,
    },
    /// Delete an access key for good
    Delete {
        /// Its id
        id: String,
    },
}

/// Arguments of `access-key create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    rights: Rights,
    /// Make it in the store itself, with the server's settings and master key: when every admin's key
    /// is lost
    #[arg(long)]
    pub(super) offline: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What an access key may do.
#[derive(Debug, Args)]
pub struct Rights {
    /// `viewer` reads, `operator` changes and runs commands, `admin` decides who may do what
    #[arg(long, default_value = "operator", value_parser = ["viewer", "operator", "admin"])]
    role: String,
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
    /// Only for nodes with this tag; repeated with one key any of the values, with several keys each
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_pair)]
    tags: Vec<Pair>,
}

impl Rights {
    fn tags(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut tags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pair in &self.tags {
            tags.entry(pair.key.clone()).or_default().insert(pair.value.clone());
        }
        tags
    }

    fn request(&self) -> Request {
        let tags: Vec<Value> =
            self.tags().into_iter().map(|(key, values)| json!({ "Key": key, "Values": values })).collect();
        Request::new()
            .set("Role", self.role.as_str())
            .set("Description", self.description.as_str())
            .unless_empty("Tags", tags)
    }
}

pub(super) async fn run(command: AccessKeyCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        AccessKeyCommand::Create(args) => {
            let answer = cx.client.patchwave("CreateAccessKey", &args.rights.request().done()).await?;
            show_new(&answer["AccessKey"], cx.output)
        }
        AccessKeyCommand::Import { access_key_id, rights } => {
            let request = rights.request().set("AccessKeyId", access_key_id.as_str()).set("SecretAccessKey", secret()?);
            let answer = cx.client.patchwave("CreateAccessKey", &request.done()).await?;
            cx.output.either(&answer["AccessKey"], || access_key_id.clone())?;
            Ok(())
        }
        AccessKeyCommand::List => list(cx).await,
        AccessKeyCommand::Enable { id } => set_status(&id, "Active", cx).await,
        AccessKeyCommand::Disable { id } => set_status(&id, "Inactive", cx).await,
        AccessKeyCommand::Delete { id } => {
            let answer = cx.client.patchwave("DeleteAccessKey", &json!({ "AccessKeyId": id })).await?;
            Ok(cx.output.either(&answer, || id.clone())?)
        }
    }
}

/// Makes a key without a server, for whoever has the server's settings and master key.
pub(super) async fn create_offline(
    args: &CreateArgs,
    global: &GlobalArgs,
    matches: &ArgMatches,
    output: Output,
) -> anyhow::Result<()> {
    let role: Role = args.rights.role.parse()?;
    let tags = args.rights.tags();
    let policy = (!tags.is_empty()).then(|| NodePolicy::new(tags)).transpose();
    let policy = policy.map_err(|error| Failure::usage(error.to_string()))?;
    if policy.is_some() && role == Role::Admin {
        return Err(Failure::usage("--tag limits the key to some nodes, which an admin cannot be").into());
    }
    let config = server::load(global, matches)?;
    // A server makes its database; here that would be another control plane's.
    if let Some(path) = config.store.as_str().strip_prefix("sqlite://").filter(|path| !Path::new(path).exists()) {
        return Err(Failure::usage(format!("there is no database at {path}"))
            .with_hint("give the server's --data-dir or --store")
            .into());
    }
    let store = roles::open_store(&config).await?;
    let master_key = roles::open_master_key(&config.master_key_file, &store).await?;
    let new = NewAccessKey { role, policy, description: args.rights.description.clone(), credentials: None };
    let made = make_offline(&store, &master_key, new, "patchwave access-key create --offline", false).await?;
    store.close().await;
    let key = made.ok_or_else(|| Failure::failed("no access key was made"))?;
    let view = json!({
        "AccessKeyId": key.access_key_id,
        "SecretAccessKey": key.secret_access_key.reveal(),
        "Role": role,
        "Description": args.rights.description,
    });
    show_new(&view, output)
}

fn show_new(key: &Value, output: Output) -> anyhow::Result<()> {
    output.either(key, || {
        let member = |name: &str| table::text(&key[name]);
        format!(
            "PATCHWAVE_ACCESS_KEY_ID={}\nPATCHWAVE_SECRET_ACCESS_KEY={}",
            member("AccessKeyId"),
            member("SecretAccessKey")
        )
    })?;
    output.note("the secret is not shown again");
    Ok(())
}

/// The first line of standard input.
fn secret() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(SECRET_BYTES_MAX).read_to_string(&mut text)?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(Failure::usage("there is no secret on standard input")
            .with_hint("for instance `patchwave access-key import --access-key-id AKIA… < secret`")
            .into()),
    }
}

async fn list(cx: &Context) -> anyhow::Result<()> {
    let list = "AccessKeys";
    let answer = cx.client.patchwave_all("ListAccessKeys", &json!({}), list, None).await?;
    let columns = [
        table::member("ID", "AccessKeyId"),
        table::member("ROLE", "Role"),
        table::computed("NODES", nodes),
        table::member("STATUS", "Status"),
        table::ago("LAST USED", "LastUsedDate"),
        table::member("DESCRIPTION", "Description"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
}

/// The tags that a key is limited to, on one line.
fn nodes(row: &Value) -> String {
    let Some(tags) = row["Tags"].as_array() else { return "all".to_owned() };
    let one = |tag: &Value| {
        let values: Vec<&str> = tag["Values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("{}={}", table::text(&tag["Key"]), values.join("|"))
    };
    tags.iter().map(one).collect::<Vec<_>>().join(", ")
}

async fn set_status(id: &str, status: &str, cx: &Context) -> anyhow::Result<()> {
    let answer = cx.client.patchwave("UpdateAccessKey", &json!({ "AccessKeyId": id, "Status": status })).await?;
    Ok(cx.output.either(&answer["AccessKey"], || format!("{id}  {status}"))?)
}
