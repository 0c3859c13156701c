//! `with-servers -- command arguments…`: runs a command while a private RabbitMQ, Redis and
//! PostgreSQL are up, tells it their URLs in its environment, and ends with its exit code.
//!
//! Whatever happens to the command, the servers and every temporary file are gone afterwards; also
//! after SIGINT and SIGTERM, which are passed on.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use patchwave_tests::servers::{AMQP_URL, POSTGRES_URL, Postgres, REDIS_URL, Rabbit, Redis, run_under_temp_dir};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).skip_while(|argument| argument == "--");
    let Some(program) = arguments.next() else { bail!("usage: with-servers -- command [arguments…]") };

    let stopped = Arc::new(AtomicBool::new(false));
    watch_signals(Arc::clone(&stopped))?;

    let (rabbit, redis, postgres) = std::thread::scope(|scope| {
        let rabbit = scope.spawn(Rabbit::start);
        let postgres = scope.spawn(Postgres::start);
        let redis = Redis::start();
        let join = "a server's start does not panic";
        (rabbit.join().expect(join), redis, postgres.join().expect(join))
    });
    let (rabbit, redis, postgres) = (rabbit?, redis?, postgres?);
    let directory = tempfile::Builder::new().prefix("patchwave-test-files-").tempdir()?;
    // PostgreSQL servers of single tests run as another user below this directory.
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;

    let mut command = Command::new(&program);
    command.args(arguments).env(AMQP_URL, rabbit.url()).env(REDIS_URL, redis.url()).env(POSTGRES_URL, postgres.url());
    let status = run_under_temp_dir(command, directory.path(), || stopped.load(Ordering::Relaxed))
        .with_context(|| format!("could not run `{}`", program.display()))?;
    // As a shell would say it.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Notes the first SIGINT or SIGTERM instead of dying of it.
fn watch_signals(stopped: Arc<AtomicBool>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        stopped.store(true, Ordering::Relaxed);
    });
    Ok(())
}
