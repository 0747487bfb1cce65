//! A captioner that misbehaves, refuses, or is of no use.

use super::*;
use gve_test_support::hub::CLOSED;
use gve_test_support::proxy::Proxy;

#[test]
fn a_captioner_that_misbehaves_is_borne_with() {
    let site = Site::new();
    let stub = Stub::start(|number, request| match number {
        0 => Answer::Status(429, vec![("retry-after", "0".to_owned())], "slow down".to_owned()),
        2 => Answer::status(500),
        4 => Answer::HalfClosed,
        6 => Answer::Closed,
        8 => Answer::Silence(Duration::from_secs(60)),
        10 => Answer::ok("<html>starting up</html>"),
        12 => says("Here you are: {}"),
        13 => says(r#"{"summary": "a dog"}"#),
        _ => says(&reply(request)),
    });
    let output = site.run(&stub.base_url, &["--concurrency", "1", "--timeout", "8", "--retries", "1"]);
    assert_status(&output, 2);
    let requests = stub.requests();
    for number in [0, 2, 4, 6, 8, 10] {
        assert_eq!(requests[number].body, requests[number + 1].body, "{number} is tried again");
    }
    // What cannot be used is asked again once, in the same conversation, with what is wrong.
    let turns = requests[13].body["messages"].as_array().unwrap();
    assert_eq!((turns.len(), &turns[2]["content"]), (4, &json!("Here you are: {}")));
    let complaint = turns[3]["content"].as_str().unwrap();
    assert!(
        complaint.contains("it does not fit the schema") && complaint.contains("Answer again"),
        "{complaint}"
    );

    let dropped: Vec<Value> =
        site.report("enrichment").into_iter().filter(|verdict| verdict.get("dropped_by").is_some()).collect();
    assert_eq!(dropped.len(), 1);
    assert_eq!(
        (&dropped[0]["dropped_by"], &dropped[0]["style"]),
        (&json!("unusable_reply"), &json!("frame"))
    );
    assert!(dropped[0]["reason"].as_str().unwrap().contains("unknown field `summary`"), "{}", dropped[0]);
    let named = format!("{}, frame: it does not fit the schema", dropped[0]["item"].as_str().unwrap());
    assert!(stderr(&output).contains(&named), "{}", stderr(&output));

    // What has no answer of use is asked for again, and what could not be asked without it; nothing else.
    assert_status(&site.run(&stub.base_url, &[]), 0);
    let again = &stub.requests()[requests.len()..];
    assert_eq!(again[0].body, requests[12].body);
    assert!(again[1..].iter().all(|request| requests.iter().all(|before| before.body != request.body)));
}

#[test]
fn an_answer_that_is_mended_when_asked_again_counts() {
    let site = Site::new();
    let stub = Stub::start(|_, request| {
        let asked_again = request.body["messages"].as_array().unwrap().len() > 2;
        says(&if asked_again { reply(request) } else { "```json\n{}\n```".to_owned() })
    });
    assert_status(&site.run(&stub.base_url, &[]), 0);
    assert_eq!(stub.requests().len(), 2 * QUESTIONS);
    assert_status(&site.run(&stub.base_url, &[]), 0);
    assert_eq!(stub.requests().len(), 2 * QUESTIONS);
}

#[test]
fn a_captioner_of_no_use_is_a_clear_error_and_finished_work_is_kept() {
    let site = Site::new();
    let down = site.run(&format!("http://{CLOSED}/v1"), &["--retries", "1", "--quiet"]);
    assert_status(&down, 1);
    let message = stderr(&down);
    assert!(message.contains(&format!("captioner http://{CLOSED}/v1: ")), "{message}");
    assert!(message.contains("refused") && message.contains("(2 tries)"), "{message}");
    assert!(message.contains("0 answers are kept") && message.lines().count() == 1, "{message}");

    // Answers some questions, then refuses all.
    let tired =
        Stub::start(|number, request| if number < 3 { says(&reply(request)) } else { Answer::status(401) });
    let output = site.run(&tired.base_url, &["--concurrency", "1", "--quiet"]);
    assert_status(&output, 2);
    assert!(stderr(&output).contains("401"), "{}", stderr(&output));
    assert!(stderr(&output).contains("check the key; 3 answers are kept"), "{}", stderr(&output));
    assert!(!site.out().join("pairs.jsonl").exists());

    let stub = good();
    assert_status(&site.run(&stub.base_url, &[]), 0);
    assert_eq!(stub.requests().len(), QUESTIONS - 3);

    // Refuses all.
    let site = Site::new();
    let stub = Stub::start(|_, _| Answer::status(400));
    let output = site.run(&stub.base_url, &["--quiet"]);
    assert_status(&output, 1);
    let message =
        "4 questions in a row came to nothing, the last because HTTP 400 Bad Request: sent 400: mend that";
    assert!(stderr(&output).contains(message), "{}", stderr(&output));

    // Refuses all but what it is asked of the first clip: each is named, and what needs no answer is made. A
    // run that is given again does not stumble over the same refusals.
    let site = Site::new();
    let stub = Stub::start(|number, request| match number {
        0 | CLIPS => says(&reply(request)),
        _ => Answer::status(400),
    });
    for _ in 0..2 {
        let output = site.run(&stub.base_url, &["--concurrency", "1"]);
        assert_status(&output, 2);
        let refusals = stderr(&output).matches("HTTP 400 Bad Request: sent 400").count();
        assert_eq!(refusals, 2 * (CLIPS - 1));
        let tasks = PairIndex::open(&[site.out().join("pairs.jsonl")], true).unwrap();
        let counts = tasks.tasks().iter().map(|task| (task.task().to_string(), task.len()));
        let expected = [("i2v", CLIPS), ("t2i", 1), ("t2t", 1), ("t2v", 5), ("v2v", CLIPS)];
        assert_eq!(
            counts.collect::<BTreeMap<_, _>>(),
            BTreeMap::from(expected.map(|(task, n)| (task.to_owned(), n)))
        );
        let extension = site.report("extension");
        assert!(
            extension.len() == 2 && extension.iter().all(|verdict| verdict["dropped_by"] == "no_partner")
        );
    }
}

#[test]
fn a_captioner_behind_a_proxy_is_asked_through_it() {
    // A name that no resolver knows.
    const FAR: &str = "http://captioner.invalid/v1";
    let (site, stub) = (Site::new(), good());
    let proxy = Proxy::before(&stub.base_url);
    let through = format!("http://user:secret-word@{}", proxy.address);
    let run = |base_url: &str, through: &str, except: &str| {
        let mut command = site.command(base_url, &["--retries", "0", "--quiet"]);
        command.env("http_proxy", through).env("https_proxy", through).env("no_proxy", except);
        let output = command.output().unwrap();
        assert!(!stderr(&output).contains("secret-word"), "{}", stderr(&output));
        output
    };
    assert_status(&run(FAR, &through, "captioner.invalid"), 1);
    assert_eq!(proxy.asked(), [""; 0]);
    // The stub speaks no TLS.
    assert_status(&run("https://captioner.invalid/v1", &through, ""), 1);
    let asked = proxy.asked();
    assert!(asked[0].starts_with("CONNECT captioner.invalid:443 "), "{asked:?}");
    let closed = run(FAR, &format!("user:secret-word@{CLOSED}"), "");
    assert_status(&closed, 1);
    assert!(stderr(&closed).contains(&format!("captioner {FAR}: ")), "{}", stderr(&closed));
    let refused = run(FAR, &format!("user:secret-word@{}", Proxy::refusing().address), "");
    assert!(stderr(&refused).contains("HTTP 407"), "{}", stderr(&refused));
    // This machine is asked directly.
    let willing = Stub::start(|_, _| Answer::status(401));
    let output = run(&willing.base_url, &format!("http://{CLOSED}"), "");
    assert!(stderr(&output).contains("HTTP 401"), "{}", stderr(&output));

    assert_status(&run(FAR, &through, "example.org"), 0);
    assert_eq!(stub.requests().len(), QUESTIONS);
    let asked = proxy.asked();
    // user:secret-word
    let opened = "proxy-authorization: basic dxnlcjpzzwnyzxqtd29yza==";
    let is_forwarded = |line: &String| {
        line.starts_with(&format!("POST {FAR}/chat/completions ")) && line.to_lowercase().ends_with(opened)
    };
    assert!(!asked.is_empty() && asked.iter().all(is_forwarded), "{asked:?}");
}

/// Answers that are there already stand between those that are missing, however many these are.
#[test]
fn refusals_here_and_there_do_not_end_a_run_that_is_given_again() {
    let many = ["--clip-seconds", "0.3", "--clips-per-video", "12", "--concurrency", "1", "--quiet"];
    let site = Site::new();
    let every_other = Stub::start(|number, request| match number % 2 {
        0 => says(&reply(request)),
        _ => Answer::status(400),
    });
    let none = Stub::start(|_, _| Answer::status(400));
    for stub in [&every_other, &none] {
        assert_status(&site.run(&stub.base_url, &many), 2);
        assert!(site.out().join("pairs.jsonl").exists());
    }
    assert!(none.requests().len() > 20, "{}", none.requests().len());
}

#[test]
fn an_error_for_all_does_not_wait_for_others_to_be_tried_again() {
    let site = Site::new();
    let stub = Stub::start(|number, request| match number {
        0 | 1 => Answer::Status(429, vec![("retry-after", "600".to_owned())], "slow down".to_owned()),
        // Is under way when the next one fails.
        2 => {
            std::thread::sleep(Duration::from_millis(500));
            says(&reply(request))
        }
        _ => Answer::status(401),
    });
    let started = Instant::now();
    let output = site.run(&stub.base_url, &["--concurrency", "4", "--quiet"]);
    assert_status(&output, 2);
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
    assert!(stderr(&output).contains("check the key; 1 answer is kept"), "{}", stderr(&output));
    assert_eq!(stub.requests().len(), 4);
}

#[test]
fn a_captioner_that_talks_nonsense_is_given_up() {
    let many = ["--clip-seconds", "0.3", "--clips-per-video", "12", "--concurrency", "1", "--quiet"];
    let (few, mended) = (["--quiet"], good());
    for (more, failures) in [(&many[..], 20), (&few[..], CLIPS)] {
        let (site, stub) = (Site::new(), Stub::start(|_, _| says("I'd rather talk about the weather.")));
        let output = site.run(&stub.base_url, more);
        assert_status(&output, 1);
        let message = stderr(&output);
        let expected =
            format!("{failures} questions in a row came to nothing, the last because it is not JSON");
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains("0 answers are kept") && message.lines().count() == 1, "{message}");
        assert_eq!(stub.requests().len(), 2 * failures, "each is asked again once");
        // Nothing of it stands in the way once it is mended.
        assert_status(&site.run(&mended.base_url, more), 0);
    }
}

#[test]
fn what_a_captioner_will_not_say_costs_that_item_alone() {
    let site = Site::new();
    let says_nothing = |message: Value, finish_reason: &str| {
        Answer::ok(json!({"choices": [{"message": message, "finish_reason": finish_reason}]}).to_string())
    };
    let stub = Stub::start(move |number, request| match number {
        1 => Answer::status(403),
        2 => Answer::ok(json!({"error": {"message": "overloaded", "code": 529}}).to_string()),
        4 => says_nothing(json!({"content": null, "refusal": "I would rather not".repeat(99)}), "stop"),
        5 => says_nothing(json!({"content": ""}), "length"),
        6 | 7 => Answer::ok(json!({"error": {"message": "no room"}}).to_string()),
        8 => says(&"a dog ".repeat(1 << 20)),
        _ => says(&reply(request)),
    });
    let output = site.run(&stub.base_url, &["--concurrency", "1", "--retries", "1"]);
    assert_status(&output, 2);
    let requests = stub.requests();
    assert!(requests[2].body == requests[3].body && requests[6].body == requests[7].body);
    let report = site.report("enrichment");
    let mut reasons: Vec<&str> = report.iter().filter_map(|verdict| verdict["reason"].as_str()).collect();
    reasons.sort_unstable();
    let refused = format!("it refused: {}...", &"I would rather not".repeat(99)[..300]);
    let expected = [
        "HTTP 403 Forbidden: sent 403; check the key, or it objects to what is shown",
        refused.as_str(),
        "its answer has no text (finish_reason: length)",
        "its answer is an error: no room (2 tries)",
        "its answer is longer than 4 MiB",
    ];
    assert_eq!(reasons, expected);

    // Nothing of it was taken for an answer: it is asked again. What was answered is not, nor is anything
    // else in place of what could not be asked.
    assert_status(&site.run(&stub.base_url, &[]), 0);
    assert_eq!(site.report("enrichment").len(), 6 * CLIPS);
    let mut answers = HashMap::new();
    for (number, request) in stub.requests().iter().enumerate() {
        let is_answered = ![1, 2, 4, 5, 6, 7, 8].contains(&number);
        *answers.entry(request.body.to_string()).or_insert(0) += usize::from(is_answered);
    }
    assert_eq!(answers.len(), QUESTIONS);
    assert!(answers.values().all(|answers| *answers == 1), "{:?}", answers.values());
}

#[test]
fn the_captioner_is_asked_as_often_and_as_soon_as_it_may_be() {
    let site = Site::new();
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let times = Arc::new(Mutex::new(Vec::new()));
    let (counter, maximum, log) = (under_way.clone(), most.clone(), times.clone());
    let stub = Stub::start(move |number, request| {
        log.lock().unwrap().push((number, request.body.to_string(), Instant::now()));
        maximum.fetch_max(1 + counter.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        counter.fetch_sub(1, Ordering::SeqCst);
        match number {
            0 => Answer::Status(503, vec![("retry-after", "2".to_owned())], String::new()),
            _ => says(&reply(request)),
        }
    });
    assert_status(&site.run(&stub.base_url, &["--concurrency", "3"]), 0);
    assert_eq!(most.load(Ordering::SeqCst), 3);
    // Without the header it would have been half a second to a second.
    let times = times.lock().unwrap();
    let (_, first, _) = times.iter().find(|(number, ..)| *number == 0).unwrap();
    let mut tries = times.iter().filter(|(_, body, _)| body == first).map(|(.., time)| *time);
    let (first, second) = (tries.next().unwrap(), tries.next().unwrap());
    assert!(second - first >= Duration::from_secs(2), "{:?}", second - first);
}
