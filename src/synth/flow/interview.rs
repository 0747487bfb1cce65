use std::cell::{Cell, RefCell};
use std::future::ready;

use async_openai::types::chat::{
    ChatCompletionRequestAssistantMessage, ChatCompletionRequestMessage,
    ChatCompletionRequestMessageContentPartImage, ChatCompletionRequestMessageContentPartText,
    ChatCompletionRequestSystemMessage, ChatCompletionRequestUserMessage,
    ChatCompletionRequestUserMessageContent, ChatCompletionRequestUserMessageContentPart,
    CreateChatCompletionRequest, ImageUrl, ResponseFormat, ResponseFormatJsonSchema,
};
use futures_util::StreamExt;
use futures_util::stream;

use super::captioner::{Captioner, NoAnswer};
use super::journal::Journal;
use super::pictures::Pictures;
use super::prompts::Prompts;
use super::reply::{Reply, parse, schema};
use super::settings::FlowSettings;
use crate::embedder::{CancelToken, Progress};
use crate::model::hash::{FNV_OFFSET, fnv};
use crate::synth::SynthError;
use crate::video::VideoOptions;

/// After so many questions in a row that the captioner was asked in vain, it is taken to be of no use.
const MAX_FAILURES_IN_A_ROW: usize = 20;

/// A question about some pictures.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// What the question is about.
    pub(super) item: String,
    pub(super) prompt: String,
    pub(super) pictures: Vec<Pictures>,
}

/// Why a question has no reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Unanswered {
    /// Its pictures cannot be had, so it was not asked.
    NotAsked(String),
    /// Nothing came back.
    NoAnswer(String),
    /// What came back is not what was asked for, nor was it when asked again.
    Unusable(String),
}

/// What became of a question.
struct Outcome<R> {
    reply: Result<R, Unanswered>,
    /// Whether the captioner said something in this run; otherwise it stood in the journal, or nothing was asked.
    is_new: bool,
}

/// Asks questions, many at a time, and keeps what was answered: a question that was answered once, well or not, is
/// not put to the captioner again.
pub(super) struct Interview<'a> {
    pub(super) captioner: &'a Captioner,
    pub(super) prompts: &'a Prompts,
    pub(super) settings: &'a FlowSettings,
    pub(super) video: VideoOptions,
    pub(super) cancel: &'a CancelToken,
    pub(super) replies: &'a RefCell<Journal<String>>,
}

impl Interview<'_> {
    /// Asks all `questions`; one result each, in their order.
    ///
    /// # Errors
    /// [`SynthError::Captioner`] where the endpoint is of no use; [`SynthError::Cancelled`]; [`SynthError::Io`].
    /// Questions under way are waited for, and their answers kept.
    pub(super) fn ask_all<R: Reply>(
        &self,
        questions: &[Question],
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Vec<Result<R, Unanswered>>, SynthError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| SynthError::Io { path: "the network".into(), action: "use", source })?;
        let failure = Cell::new(None);
        let stopped = Cell::new(false);
        let mut answers: Vec<Option<Result<R, Unanswered>>> = questions.iter().map(|_| None).collect();
        runtime.block_on(async {
            let asking = stream::iter(questions.iter().enumerate())
                .take_while(|_| ready(!stopped.get() && !self.cancel.is_cancelled()))
                .map(|(i, question)| async move { (i, self.ask::<R>(question).await) })
                .buffer_unordered(self.captioner.settings().concurrency);
            let mut asking = Box::pin(asking);
            let (mut done, mut in_a_row) = (0, 0);
            while let Some((i, answer)) = asking.next().await {
                done += 1;
                on_progress(Progress { done, total: questions.len() });
                let fatal = match answer {
                    Ok(Outcome { reply, is_new }) => {
                        if is_new {
                            in_a_row = if reply.is_ok() { 0 } else { in_a_row + 1 };
                        }
                        let hopeless = self.hopeless(in_a_row, &reply);
                        answers[i] = Some(reply);
                        hopeless
                    }
                    Err(error) => Some(error),
                };
                if let Some(error) = fatal.filter(|_| !stopped.replace(true)) {
                    failure.set(Some(error));
                }
            }
        });
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        answers.into_iter().collect::<Option<_>>().ok_or(SynthError::Cancelled)
    }

    /// Asks a question and, where the answer does not fit, once again with what is wrong with it.
    async fn ask<R: Reply>(&self, question: &Question) -> Result<Outcome<R>, SynthError> {
        let schema = schema::<R>();
        let mut turns = vec![self.prompts.system.render([&schema.to_string()]), question.prompt.clone()];
        let mut request = Request { question, name: R::NAME, schema, pictures: Vec::new() };
        let Outcome { reply: first, is_new } = self.reply(&mut request, &turns).await?;
        let first = match first {
            Ok(text) => text,
            Err(unanswered) => return Ok(Outcome { reply: Err(unanswered), is_new }),
        };
        let fault = match parse::<R>(&first) {
            Ok(reply) => return Ok(Outcome { reply: Ok(reply), is_new }),
            Err(fault) => fault,
        };
        turns.extend([first, self.prompts.again.render([&fault])]);
        let Outcome { reply: second, is_new } = self.reply(&mut request, &turns).await?;
        let reply = second.and_then(|text| parse(&text).map_err(Unanswered::Unusable));
        Ok(Outcome { reply, is_new })
    }

    /// The journal's or else the captioner's answer to a conversation: system, question, and perhaps answer and
    /// complaint.
    async fn reply(
        &self,
        request: &mut Request<'_>,
        turns: &[String],
    ) -> Result<Outcome<String>, SynthError> {
        let key = request.key(&self.captioner.settings().model, turns);
        if let Some(stored) = self.replies.borrow().get(&key) {
            return Ok(Outcome { reply: Ok(stored.clone()), is_new: false });
        }
        if let Err(reason) = request.load_pictures(self.settings, self.video).await {
            return Ok(Outcome { reply: Err(Unanswered::NotAsked(reason)), is_new: false });
        }
        let message = request.message(turns, self.captioner);
        let has_answered = self.replies.borrow().len() > 0;
        let reply = match self.captioner.complete(&message, has_answered, self.cancel).await {
            Ok(text) => {
                self.replies.borrow_mut().insert(key, text.clone())?;
                Ok(text)
            }
            Err(NoAnswer::Request(reason)) => Err(Unanswered::NoAnswer(reason)),
            Err(NoAnswer::Endpoint(error)) => return Err(error),
        };
        Ok(Outcome { reply, is_new: true })
    }

    fn hopeless<R>(&self, in_a_row: usize, last: &Result<R, Unanswered>) -> Option<SynthError> {
        let (last, kept) = match last {
            Err(Unanswered::NoAnswer(last)) => (last, ""),
            Err(Unanswered::Unusable(last)) => {
                (last, "; delete answers of no use from journal/replies.jsonl to have them asked again")
            }
            Ok(_) | Err(Unanswered::NotAsked(_)) => return None,
        };
        (in_a_row >= MAX_FAILURES_IN_A_ROW).then(|| SynthError::Captioner {
            url: self.captioner.settings().base_url.clone(),
            reason: format!(
                "{in_a_row} questions in a row came to nothing, the last because {last}: mend that and go on with the \
                 same command{kept}"
            ),
        })
    }
}

/// A question on its way to the captioner.
struct Request<'a> {
    question: &'a Question,
    name: &'static str,
    schema: serde_json::Value,
    /// Data URLs by group; empty until they are needed.
    pictures: Vec<Vec<String>>,
}

impl Request<'_> {
    /// A name for the conversation that is the same whenever the run is started.
    fn key(&self, model: &str, turns: &[String]) -> String {
        let groups = self.question.pictures.iter();
        let pictures = groups.flat_map(|group| [group.title.to_owned(), group.source.name()]);
        let parts = [model.to_owned()].into_iter().chain(pictures).chain(turns.iter().cloned());
        // Lengths in front, so that no two lists of parts read the same.
        let hash = parts.fold(FNV_OFFSET, |hash, part| {
            fnv(fnv(hash, &(part.len() as u64).to_le_bytes()), part.as_bytes())
        });
        let again = if turns.len() > 2 { " again" } else { "" };
        format!("{} {}{again} {hash:016x}", self.name, self.question.item)
    }

    /// Decodes and encodes the pictures, on another thread than the one that waits for answers.
    async fn load_pictures(&mut self, settings: &FlowSettings, video: VideoOptions) -> Result<(), String> {
        if !self.pictures.is_empty() {
            return Ok(());
        }
        let (groups, settings) = (self.question.pictures.clone(), settings.clone());
        let load = move || {
            groups.iter().map(|group| group.source.data_urls(&settings, video)).collect::<Result<_, _>>()
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        self.pictures = loaded.map_err(|error| format!("decoding ended early: {error}"))??;
        Ok(())
    }

    fn message(&self, turns: &[String], captioner: &Captioner) -> CreateChatCompletionRequest {
        let messages = turns.iter().enumerate().map(|(i, turn)| match i {
            0 => ChatCompletionRequestSystemMessage::from(turn.as_str()).into(),
            1 => self.user(turn),
            _ if i % 2 == 0 => ChatCompletionRequestAssistantMessage::from(turn.as_str()).into(),
            _ => ChatCompletionRequestUserMessage::from(turn.as_str()).into(),
        });
        let json_schema = ResponseFormatJsonSchema {
            description: None,
            name: self.name.to_owned(),
            schema: self.schema.clone(),
            strict: Some(true),
        };
        CreateChatCompletionRequest {
            model: captioner.settings().model.clone(),
            messages: messages.collect(),
            response_format: captioner
                .settings()
                .send_schema
                .then_some(ResponseFormat::JsonSchema { json_schema }),
            ..CreateChatCompletionRequest::default()
        }
    }

    /// The question, then each group of pictures under its title.
    fn user(&self, prompt: &str) -> ChatCompletionRequestMessage {
        type Part = ChatCompletionRequestUserMessageContentPart;
        let text = |text: &str| Part::Text(ChatCompletionRequestMessageContentPartText::from(text));
        let mut parts = vec![text(prompt)];
        for (group, urls) in self.question.pictures.iter().zip(&self.pictures) {
            parts.push(text(group.title));
            parts.extend(urls.iter().map(|url| {
                let image_url = ImageUrl { url: url.clone(), detail: None };
                Part::ImageUrl(ChatCompletionRequestMessageContentPartImage {
                    image_url,
                    prompt_cache_breakpoint: None,
                })
            }));
        }
        let content = ChatCompletionRequestUserMessageContent::Array(parts);
        ChatCompletionRequestUserMessage { content, name: None }.into()
    }
}
