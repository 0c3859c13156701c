//! `patchwave demo`: the whole system in one process, at work.

/// What the demo is asked to do.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoOptions {
    /// Leave everything running at the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
}

/// Runs the demo to its end.
///
/// # Errors
/// When a part of it does not do as expected.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let _ = options;
    anyhow::bail!("the demo is not wired into this build")
}
