//! Answers with something else around the reply.

use super::*;

/// A chat completion with this message.
fn message(message: Value, finish_reason: &str) -> Answer {
    Answer::ok(json!({"choices": [{"message": message, "finish_reason": finish_reason}]}).to_string())
}

#[test]
fn replies_are_taken_out_of_answers_and_counted() {
    let (site, plain) = (Site::new(), Site::new());
    assert_status(&plain.run(&good().base_url, &[]), 0);
    let stub = Stub::start(|number, request| {
        let said = reply(request);
        let draft = said.replace("the ", "a draft of ");
        match number % 8 {
            0 => says(&said),
            1 => says(&format!("```json\n{said}\n```")),
            2 => says(&format!("<think>Perhaps {draft}? No.</think>\n\n{said}")),
            3 => says(&format!("Here you are:\n{said}\nI hope that helps.")),
            4 => says(&format!("\u{feff}{said}")),
            5 => message(json!({"content": said, "reasoning_content": draft}), "stop"),
            6 => {
                let thoughts = json!({"type": "thinking", "thinking": [{"type": "text", "text": draft}]});
                message(json!({"content": [thoughts, {"type": "text", "text": said}]}), "stop")
            }
            _ => says(&format!("{said}\n{said}")),
        }
    });
    let output = site.run(&stub.base_url, &["--json", "--concurrency", "1"]);
    assert_status(&output, 0);
    assert_eq!(stub.requests().len(), QUESTIONS, "none is asked for again");
    assert_eq!(site.pairs_anywhere(), plain.pairs_anywhere());
    let count = |output: &Output| {
        let summary = &json_lines(output)[0];
        (summary["replies"].clone(), summary["replies_taken_out"].clone())
    };
    assert_eq!(count(&output), (json!(QUESTIONS), json!(QUESTIONS * 5 / 8)));

    // It is written down, and so are the replies as if nothing had stood around them.
    assert_eq!(count(&site.run(&stub.base_url, &["--json"])), (json!(QUESTIONS), json!(QUESTIONS * 5 / 8)));
    let printed = site.run(&stub.base_url, &[]);
    assert!(
        stdout(&printed).contains("\n10 of 16 replies were taken out of longer answers\n"),
        "{printed:?}"
    );
    let journal = |site: &Site| {
        let text = std::fs::read_to_string(site.out().join("journal/replies.jsonl")).unwrap();
        let mut replies: Vec<Value> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].take()).collect();
        replies.sort_by_key(ToString::to_string);
        replies
    };
    assert_eq!(journal(&site), journal(&plain));
    assert_eq!(count(&plain.run(&stub.base_url, &["--json"])), (json!(QUESTIONS), json!(0)));

    // A folder of a release that did not count.
    std::fs::remove_file(site.out().join("journal/taken_out.jsonl")).unwrap();
    assert_eq!(count(&site.run(&stub.base_url, &["--json"])), (json!(QUESTIONS), json!(0)));
    assert_eq!(stub.requests().len(), QUESTIONS);
}

#[test]
fn answers_that_leave_doubt_are_asked_for_again() {
    let site = Site::new();
    let stub = Stub::start(|number, request| {
        let said = reply(request);
        match number {
            0 => says(&format!("{said}\n{}", said.replace("the ", "another "))),
            2 => says(&format!("<think>I would say {said}")),
            // Thoughts that the template began, and no room for the answer.
            4 => message(json!({"content": format!("I would say {said}, or")}), "length"),
            6 => message(json!({"content": null, "reasoning_content": said}), "length"),
            _ => says(&said),
        }
    });
    let output = site.run(&stub.base_url, &["--concurrency", "1", "--json"]);
    assert_status(&output, 2);
    assert_eq!(json_lines(&output)[0]["replies_taken_out"], 0);
    let requests = stub.requests();
    for (number, expected) in [
        (0, "it holds 2 different JSON objects that fit the schema, expected one"),
        (2, "it is not JSON: it has `<think>` and no `</think>` after it"),
        (4, "it is not JSON"),
    ] {
        let turns = requests[number + 1].body["messages"].as_array().unwrap();
        let complaint = turns[3]["content"].as_str().unwrap();
        assert!(complaint.contains(expected), "{complaint}");
    }
    let reason = "its answer has no text, only thoughts (finish_reason: length)";
    assert!(stderr(&output).contains(reason), "{}", stderr(&output));
}

#[test]
fn stored_replies_that_do_not_fit_any_more_are_asked_for_again_and_counted() {
    let (site, stub) = (Site::new(), good());
    assert_status(&site.run(&stub.base_url, &[]), 0);
    let pairs = site.pairs();
    let path = site.out().join("journal/replies.jsonl");
    let journal = std::fs::read_to_string(&path).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["value"] = json!(r#"{"of": "another release"}"#);
        line.to_string()
    };
    let older: Vec<String> = journal
        .lines()
        .enumerate()
        .map(|(number, text)| if number < 2 { line(text) } else { text.to_owned() })
        .collect();
    std::fs::write(&path, older.join("\n") + "\n").unwrap();
    let again = site.run(&stub.base_url, &["--json"]);
    assert_status(&again, 0);
    assert_eq!(json_lines(&again)[0]["replies_outdated"], 2);
    let said = stderr(&again);
    assert_eq!(said.matches("2 stored replies do not fit").count(), 1, "{said}");
    assert_eq!((stub.requests().len(), site.pairs()), (QUESTIONS + 2, pairs));
    let last = site.run(&stub.base_url, &["--json"]);
    assert_eq!(json_lines(&last)[0]["replies_outdated"], 0);
}
