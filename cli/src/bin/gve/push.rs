use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gve::hub::{HubError, PushOptions, PushPlan, PushProgress, Pushed, plan_push, push};
use gve_cli::hub::from_environment;
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::output::{Outcome, byte_bar, counted, print, show, warn};
use indicatif::{DecimalBytes, ProgressBar};
use serde_json::json;

/// Push a model or an adapter to the hub; without --yes, say what would be sent, and send nothing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gve model push runs/holiday/final me/holiday-lora
  gve model push runs/holiday/final me/holiday-lora --private --yes
  gve model push nano-lora me/nano-lora --base me/nano --yes
  gve model push GVE-3B-mine me/GVE-3B-mine --revision v2 --message \"Epoch 3\" --yes

The hub is HF_ENDPOINT, else https://huggingface.co, and the token HF_TOKEN, else that of `hf auth login`. Not sent are states
of training, hidden files, links, and what may hold a secret; each is named. Files that are there unchanged are not sent again,
and those of the repository that DIR lacks stay. All else goes in one commit: a push that breaks off has changed nothing there. Files that
the repository's .gitignore has are named and not sent, with status 2.")]
pub(crate) struct Arguments {
    /// The model: final/ or best/ of a run, or any checkpoint or adapter.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The repository, which is made if need be.
    #[arg(value_name = "OWNER/NAME")]
    repository: String,
    /// Send it.
    #[arg(long)]
    yes: bool,
    /// Branch to push to, which is made if need be.
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    revision: String,
    /// Make a repository that is new a private one; refuse one that is there and public.
    #[arg(long)]
    private: bool,
    /// Title of the commit.
    #[arg(long, value_name = "TEXT", default_value = "Upload with gve")]
    message: String,
    /// Id on the hub of the model that this one was made of, written into what is sent: for an adapter of a model that was a folder.
    #[arg(long, value_name = "OWNER/NAME")]
    base: Option<String>,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let options = PushOptions::default()
        .with_hub(from_environment().with_revision(Some(arguments.revision.clone())))
        .with_private(arguments.private.then_some(true))
        .with_message(Some(arguments.message.clone()))
        .with_base(arguments.base.clone());
    let cancel = stop_on_ctrl_c()?;
    let bar = byte_bar(0, arguments.quiet);
    let mut tell = |progress: PushProgress<'_>| draw(&bar, &progress);
    let plan = plan_push(&arguments.directory, &arguments.repository, &options, &cancel, &mut tell);
    let plan = match plan {
        Err(HubError::Cancelled) => return Ok(stopped("nothing was sent")),
        plan => plan?,
    };
    plan.warnings.iter().for_each(|warning| bar.suspend(|| warn(warning)));
    let lines = told(&plan);
    if !arguments.json {
        lines.iter().try_for_each(|line| bar.suspend(|| print(line)))?;
    }
    let pushed = if arguments.yes { Some(push(&plan, &options, &cancel, &mut tell)) } else { None };
    bar.finish_and_clear();
    let pushed = match pushed {
        Some(Err(HubError::Cancelled)) => {
            return Ok(stopped("nothing is committed; what large file storage has is not sent again"));
        }
        pushed => pushed.transpose()?,
    };
    let ignored = pushed.as_ref().map_or(&[][..], |pushed| &pushed.ignored);
    for name in ignored {
        warn(&format!(
            "{name} was not sent: .gitignore of {} has it; change that there, or take the file away",
            plan.id
        ));
    }
    print(&if arguments.json { as_json(&plan, pushed.as_ref()) } else { ended(&plan, pushed.as_ref()) })?;
    Ok(Outcome::of(plan.files.len() - ignored.len(), ignored.len()))
}

fn draw(bar: &ProgressBar, progress: &PushProgress<'_>) {
    bar.set_length(progress.total_bytes);
    bar.set_position(progress.done_bytes);
    let doing = if progress.is_sent { "sending" } else { "reading" };
    show(bar, &format!("{doing} {}", progress.file));
}

/// What would be done, line by line.
fn told(plan: &PushPlan) -> Vec<String> {
    let kind = match (plan.is_new, plan.private) {
        (true, Some(true)) => ", a new private repository",
        (true, _) => ", a new repository, public unless its owner's settings say otherwise",
        (false, Some(true)) => ", private",
        (false, Some(false)) => ", public",
        (false, None) => "",
    };
    let branch = if plan.is_new_branch { "new branch" } else { "branch" };
    let mut lines = vec![format!("{}, {branch} {}{kind}", plan.url, plan.revision)];
    let width = plan.files.iter().map(|file| file.name.chars().count()).max().unwrap_or_default();
    for file in &plan.files {
        let what = if file.is_there { "there" } else { "send " };
        let store = if file.is_large { "  large file storage" } else { "" };
        lines.push(format!(
            "  {what} {:width$} {:>10}{store}",
            file.name,
            DecimalBytes(file.bytes).to_string()
        ));
    }
    lines.extend(plan.left_out.iter().map(|(name, why)| format!("  not   {name}: {why}")));
    lines
}

/// What it came to.
fn ended(plan: &PushPlan, pushed: Option<&Pushed>) -> String {
    let (count, there) = (plan.changed().count(), plan.files.len() - plan.changed().count());
    let bytes = DecimalBytes(plan.changed().map(|file| file.bytes).sum());
    let is_there = counted(there, "file is there already", "files are there already");
    match pushed {
        None if count == 0 => is_there,
        None => format!(
            "{}, {bytes}, would be sent, {is_there}; nothing was sent: --yes sends it",
            counted(count, "file", "files")
        ),
        Some(Pushed { commit: Some(commit), files, stored_bytes, .. }) => format!(
            "{}: {} in commit {commit}, {} of large files sent",
            plan.url,
            counted(*files, "file", "files"),
            DecimalBytes(*stored_bytes)
        ),
        Some(_) if count > 0 => format!("{}: nothing is left to send", plan.url),
        Some(_) => format!("{}: {is_there}, nothing was sent", plan.url),
    }
}

fn as_json(plan: &PushPlan, pushed: Option<&Pushed>) -> String {
    let files = plan.files.iter().map(|file| {
        json!({"name": file.name, "bytes": file.bytes, "large": file.is_large, "there": file.is_there})
    });
    let commit = pushed.and_then(|pushed| pushed.commit.as_ref());
    json!({
        "url": plan.url, "revision": plan.revision, "new": plan.is_new, "new_branch": plan.is_new_branch, "private": plan.private,
        "files": files.collect::<Vec<_>>(),
        "left_out": plan.left_out.iter().map(|(name, why)| json!({"name": name, "why": why})).collect::<Vec<_>>(),
        "ignored": pushed.map(|pushed| pushed.ignored.as_slice()).unwrap_or_default(),
        "commit": commit, "sent": commit.is_some(),
    })
    .to_string()
}
