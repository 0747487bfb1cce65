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

use super::answer::{Found, find, reread};
use super::captioner::{Answer, Captioner, NoAnswer};
use super::journal::Journal;
use super::pictures::Pictures;
use super::prompts::Prompts;
use super::reply::{Reply, schema};
use super::settings::FlowSettings;
use crate::embedder::{CancelToken, Progress};
use crate::hash::{FNV_OFFSET, fnv};
use crate::store::IoError;
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
    /// Whether the captioner was asked in this run; otherwise the reply stood in the journal, or there are no
    /// pictures.
    is_new: bool,
}

/// Asks questions, many at a time, and keeps the answers that fit: a question with such an answer is not put
/// to the captioner again. Any other is, by the next run: who repeats a command wants what is missing.
pub(super) struct Interview<'a> {
    pub(super) captioner: &'a Captioner,
    pub(super) prompts: &'a Prompts,
    pub(super) settings: &'a FlowSettings,
    pub(super) video: VideoOptions,
    pub(super) cancel: &'a CancelToken,
    pub(super) replies: &'a RefCell<Journal<String>>,
    /// Bytes of the answers that replies were taken out of, by key.
    pub(super) taken_out: &'a RefCell<Journal<usize>>,
    /// Counts replies in the journal that do not fit what is asked for now, so that they are asked for again.
    pub(super) outdated: &'a Cell<usize>,
    /// Whether the captioner ever said something with this key, of use or not.
    pub(super) has_spoken: Cell<bool>,
}

impl Unanswered {
    fn reason(&self) -> &str {
        let (Self::NotAsked(reason) | Self::NoAnswer(reason) | Self::Unusable(reason)) = self;
        reason
    }
}

impl Interview<'_> {
    /// Asks all `questions`; one result each, in their order.
    ///
    /// # Errors
    /// [`SynthError::Captioner`] where the endpoint is of no use; [`SynthError::Cancelled`];
    /// [`SynthError::Io`]. Questions under way are waited for, and their answers kept.
    pub(super) fn ask_all<R: Reply>(
        &self,
        questions: &[Question],
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Vec<Result<R, Unanswered>>, SynthError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(IoError::of("use", "the network"))?;
        let failure = Cell::new(None);
        let stopped = Cell::new(false);
        let is_over: &dyn Fn() -> bool = &|| stopped.get() || self.cancel.is_cancelled();
        let mut answers: Vec<Option<Result<R, Unanswered>>> = questions.iter().map(|_| None).collect();
        runtime.block_on(async {
            let asking = stream::iter(questions.iter().enumerate())
                .take_while(|_| ready(!is_over()))
                .map(|(i, question)| async move { (i, self.ask::<R>(question, is_over).await) })
                .buffer_unordered(self.captioner.settings().concurrency);
            let mut asking = Box::pin(asking);
            let (mut done, mut in_vain) = (0, 0);
            while let Some((i, answer)) = asking.next().await {
                done += 1;
                on_progress(Progress { done, total: questions.len() });
                let fatal = match answer {
                    Ok(Outcome { reply, is_new }) => {
                        if reply.is_ok() {
                            in_vain = 0;
                        } else if is_new {
                            in_vain += 1;
                        }
                        // A few questions do not make a long row, but a captioner that has answered none of
                        // them has yet to be of use.
                        let is_hopeless = in_vain >= MAX_FAILURES_IN_A_ROW
                            || (done == questions.len() && self.replies.borrow().len() == 0);
                        let fatal = match &reply {
                            Err(last) if is_hopeless && in_vain > 0 => Some(self.of_no_use(in_vain, last)),
                            _ => None,
                        };
                        answers[i] = Some(reply);
                        fatal
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

    /// The journal's or else the captioner's reply to a question.
    async fn ask<R: Reply>(
        &self,
        question: &Question,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Outcome<R>, SynthError> {
        let schema = schema::<R>();
        let turns = vec![self.prompts.system.render([&schema.to_string()]), question.prompt.clone()];
        let key = question.key(R::NAME, &self.captioner.settings().model, &turns);
        match self.replies.borrow().get(&key).map(|stored| reread::<R>(stored)) {
            Some(Ok(reply)) => return Ok(Outcome { reply: Ok(reply), is_new: false }),
            Some(Err(_)) => self.outdated.set(self.outdated.get() + 1),
            None => {}
        }
        let pictures = match question.load_pictures(self.settings, self.video).await {
            Ok(pictures) => pictures,
            Err(reason) => return Ok(Outcome { reply: Err(Unanswered::NotAsked(reason)), is_new: false }),
        };
        let request = Request { question, name: R::NAME, schema, pictures };
        let reply = self.converse(&request, turns, key, is_over).await?;
        Ok(Outcome { reply, is_new: true })
    }

    /// Has the captioner answer after `turns`, system and question, and keeps the reply in it under `key` if
    /// one fits. One that does not is asked for once more, in the same conversation and with what is wrong
    /// with it.
    async fn converse<R: Reply>(
        &self,
        request: &Request<'_>,
        mut turns: Vec<String>,
        key: String,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Result<R, Unanswered>, SynthError> {
        loop {
            let message = request.message(&turns, self.captioner);
            let Answer { text, is_cut } =
                match self.captioner.complete(&message, self.has_spoken.get(), is_over).await {
                    Ok(answer) => answer,
                    Err(NoAnswer::Request(reason)) => return Ok(Err(Unanswered::NoAnswer(reason))),
                    Err(NoAnswer::Endpoint(error)) => return Err(error),
                };
            self.has_spoken.set(true);
            let fault = match find::<R>(&text, is_cut, self.captioner.secrets()) {
                Ok(Found { reply, json, is_taken_out }) => {
                    self.replies.borrow_mut().insert(key.clone(), json.to_owned())?;
                    if is_taken_out {
                        self.taken_out.borrow_mut().insert(key, text.len())?;
                    }
                    return Ok(Ok(reply));
                }
                Err(fault) => fault,
            };
            if turns.len() > 2 {
                return Ok(Err(Unanswered::Unusable(fault)));
            }
            turns.extend([text, self.prompts.again.render([&fault])]);
        }
    }

    fn of_no_use(&self, in_vain: usize, last: &Unanswered) -> SynthError {
        let last = last.reason();
        let reason =
            format!("{in_vain} questions in a row came to nothing, the last because {last}: mend that");
        self.captioner.of_no_use(reason)
    }
}

impl Question {
    /// A name for the question under which its reply is kept, the same whenever the run is started.
    fn key(&self, name: &str, model: &str, turns: &[String]) -> String {
        let groups = self.pictures.iter();
        let pictures = groups.flat_map(|group| [group.title.to_owned(), group.source.name()]);
        let parts = [model.to_owned()].into_iter().chain(pictures).chain(turns.iter().cloned());
        // Lengths in front, so that no two lists of parts read the same.
        let hash = parts.fold(FNV_OFFSET, |hash, part| {
            fnv(fnv(hash, &(part.len() as u64).to_le_bytes()), part.as_bytes())
        });
        format!("{name} {} {hash:016x}", self.item)
    }

    /// The pictures as data URLs, by group. They are decoded and encoded on another thread than the one that
    /// waits for answers.
    async fn load_pictures(
        &self,
        settings: &FlowSettings,
        video: VideoOptions,
    ) -> Result<Vec<Vec<String>>, String> {
        let (groups, settings) = (self.pictures.clone(), settings.clone());
        let load = move || {
            let urls = groups.iter().map(|group| group.source.data_urls(&settings, video));
            urls.collect::<Result<Vec<_>, String>>()
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.map_err(|error| format!("decoding ended early: {error}"))?
    }
}

/// A question on its way to the captioner.
struct Request<'a> {
    question: &'a Question,
    name: &'static str,
    schema: serde_json::Value,
    /// Data URLs by group.
    pictures: Vec<Vec<String>>,
}

impl Request<'_> {
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
