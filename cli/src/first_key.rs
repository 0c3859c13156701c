//! The first access key: a control plane that has none makes one, and shows it once.

use std::io::Write as _;

use patchwave_api::access_keys::{NewAccessKey, create_offline};
use patchwave_api::sign::Credentials;
use patchwave_engine::access::Role;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::{self, Store};

use crate::config::Config;
use crate::credentials;

/// Makes an admin's access key if there is no access key at all.
///
/// # Errors
/// When the store does not do as asked.
pub async fn make(store: &Store, master_key: &MasterKey) -> Result<Option<Credentials>, store::Error> {
    let new = NewAccessKey {
        role: Role::Admin,
        policy: None,
        description: "made at the first start".to_owned(),
        credentials: None,
    };
    create_offline(store, master_key, new, "patchwave", true).await
}

/// As [`make`]; prints the key, and leaves it in the data directory if the store is there: whoever
/// may read that directory has the master key and the database anyway.
///
/// # Errors
/// When the store does not do as asked. A file that cannot be written is only told of.
pub(crate) async fn ensure(config: &Config, store: &Store, master_key: &MasterKey) -> anyhow::Result<()> {
    let Some(key) = make(store, master_key).await? else { return Ok(()) };
    let mut text = format!(
        "\nThe first access key, an admin's. Its secret is shown this once:\n  PATCHWAVE_ACCESS_KEY_ID={}\n  \
         PATCHWAVE_SECRET_ACCESS_KEY={}\n",
        key.access_key_id,
        key.secret_access_key.reveal()
    );
    if config.store.as_str().starts_with("sqlite:") {
        let path = config.data_dir.join(credentials::FILE);
        text.push_str(&match credentials::write(&path, &key) {
            Ok(()) => {
                format!("It is also in {}, where commands of this user on this machine find it.\n", path.display())
            }
            Err(error) => format!("It could not be left for commands on this machine: {error:#}\n"),
        });
    }
    text.push('\n');
    // Not through the log, which may go elsewhere and be kept.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    Ok(())
}
