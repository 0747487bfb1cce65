//! Runs that are stopped, killed, or given again.

use std::time::SystemTime;

use super::*;

impl Site {
    /// What is expensive, by path: when each file was last written, and what is in it.
    fn expensive(&self) -> BTreeMap<String, (SystemTime, Vec<u8>)> {
        let out = self.out();
        // Whoever writes says so in the lock.
        let is_dear = |name: &str| {
            !name.ends_with(".lock")
                && ["frames/", "journal/", "clips/"].iter().any(|folder| name.starts_with(folder))
        };
        let files = files(&out).into_iter().filter(|(name, _)| is_dear(name));
        files
            .map(|(name, bytes)| {
                let written = std::fs::metadata(out.join(&name)).unwrap().modified().unwrap();
                (name, (written, bytes))
            })
            .collect()
    }
}

#[test]
fn what_is_decoded_embedded_and_measured_is_not_made_again() {
    let (site, stub) = (Site::new(), good());
    let captions = site.folder.path().join("captions.jsonl");
    let line = json!({"video": "videos/bunny.mp4", "caption": "a rabbit in the grass", "start": 0, "end": 1});
    std::fs::write(&captions, line.to_string()).unwrap();
    for (until, facts) in [("quality", 1), ("extension", 1 + 6 * 3)] {
        let more = ["--captions", text(&captions), "--until", until];
        assert_status(&site.run(&stub.base_url, &more), 0);
        let expensive = site.expensive();
        let lines = |name: &str| expensive[name].1.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!((lines("journal/videos.jsonl"), lines("journal/cosines.jsonl")), (2, facts));
        let of = |end: &str| expensive.keys().filter(|name| name.ends_with(end)).count();
        assert_eq!((of(".jpg"), of(".parquet")), (3, 1));
        assert_status(&site.run(&stub.base_url, &more), 0);
        assert!(site.expensive() == expensive, "until {until}");
    }
}

#[test]
fn another_threshold_costs_no_answer() {
    let (site, stub) = (Site::new(), good());
    assert_status(&site.run(&stub.base_url, &[]), 0);
    let pairs = site.pairs();
    for (more, filter, dropped) in [
        (["--min-cosine", "0.99"], "inconsistent", 6 * CLIPS),
        // All but the detailed texts.
        (["--min-words", "6"], "too_short", 5 * CLIPS),
    ] {
        assert_status(&site.run(&stub.base_url, &more), 0);
        let report = site.report("enrichment");
        assert_eq!(report.iter().filter(|verdict| verdict["dropped_by"] == filter).count(), dropped);
        assert_ne!(site.pairs(), pairs);
    }
    assert_status(&site.run(&stub.base_url, &[]), 0);
    assert_eq!(site.pairs(), pairs);
    assert_eq!(stub.requests().len(), QUESTIONS);
}

/// Starts a run and kills it when `when` says so.
fn kill(mut child: Child, when: &mpsc::Receiver<()>) {
    when.recv_timeout(Duration::from_secs(120)).unwrap();
    // SIGKILL: no handler sees it.
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_that_is_killed_goes_on_and_asks_nothing_twice() {
    let undisturbed = Site::new();
    assert_status(&undisturbed.run(&good().base_url, &[]), 0);
    // In the first question, between questions of each kind, and in the last.
    for fatal in [0, 3, CLIPS + 1, 2 * CLIPS + 2, QUESTIONS - 1] {
        let site = Site::new();
        let (sender, killed) = mpsc::channel();
        let stub = Stub::start(move |number, request| {
            if number == fatal {
                sender.send(()).unwrap();
                return Answer::Silence(Duration::from_secs(60));
            }
            says(&reply(request))
        });
        let mut command = site.command(&stub.base_url, &["--concurrency", "1"]);
        kill(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), &killed);
        assert!(!site.out().join("pairs.jsonl").exists());
        assert_status(&site.run(&stub.base_url, &[]), 0);

        let mut asked = HashMap::new();
        for (number, request) in stub.requests().iter().enumerate() {
            let answered = number != fatal;
            *asked.entry(request.body.to_string()).or_insert(0) += usize::from(answered);
        }
        assert_eq!(asked.len(), QUESTIONS, "killed at {fatal}");
        assert!(asked.values().all(|answers| *answers == 1), "killed at {fatal}: {:?}", asked.values());
        assert_eq!(site.pairs_anywhere(), undisturbed.pairs_anywhere(), "killed at {fatal}");
    }
}

#[test]
fn a_run_that_is_killed_before_the_first_question_goes_on() {
    let (site, undisturbed, stub) = (Site::new(), Site::new(), good());
    let mut killed = 0;
    for wait_for in ["run.json", "journal/videos.jsonl", "clips/library.json"] {
        let mut command = site.command(&stub.base_url, &["--until", "quality"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !site.out().join(wait_for).exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        // It may have been faster.
        killed += usize::from(!child.wait().unwrap().success());
    }
    assert!(killed > 0);
    assert_status(&site.run(&stub.base_url, &[]), 0);
    assert_eq!(stub.requests().len(), QUESTIONS);
    assert_status(&undisturbed.run(&good().base_url, &[]), 0);
    assert_eq!(site.pairs_anywhere(), undisturbed.pairs_anywhere());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_run_with_the_answers_under_way() {
    let site = Site::new();
    let (sender, asked) = mpsc::channel();
    let (told, stopped) = mpsc::channel::<()>();
    let stopped = Mutex::new(stopped);
    let stub = Stub::start(move |number, request| {
        if number == 2 {
            sender.send(()).unwrap();
            stopped.lock().unwrap().recv().unwrap();
            // It has been told; hearing takes a moment.
            std::thread::sleep(Duration::from_millis(500));
        }
        says(&reply(request))
    });
    let mut command = site.command(&stub.base_url, &["--concurrency", "1", "--quiet"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    asked.recv_timeout(Duration::from_secs(120)).unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    told.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_status(&output, 2);
    assert!(stderr(&output).contains("stopped before the end; 3 answers are kept"), "{}", stderr(&output));
    assert_status(&site.run(&stub.base_url, &[]), 0);
    assert_eq!(stub.requests().len(), QUESTIONS);
}
