//! What every adapter must do, whatever its upstream's language. What goes wrong is asked for in the
//! prompt ([`directive`](crate::fakes::directive)).

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::TryStreamExt;
use piooy::providers::{
    Cancel, Cause, Connection, FailureReason, Hook, HookError, Inputs, Job, Operation, Poll, Probe,
    Provider, Rendered, SubmitFailure, Submitted,
};
use uuid::Uuid;

use crate::fakes::engine::{Engine, clip, picture};
use crate::support;

/// How long an upstream may take to answer here.
pub const ANSWER_MAX: Duration = Duration::from_millis(1_500);
/// Questions after which a test gives a job up.
const POLLS_MAX: u32 = 400;
const POLL_PAUSE: Duration = Duration::from_millis(10);

/// An adapter and its fake.
pub struct Specimen {
    pub provider: Arc<dyn Provider>,
    /// The same with a key that the fake refuses; none where there are no keys.
    pub wrong_key: Option<Arc<dyn Provider>>,
    /// The same where nobody listens.
    pub absent: Arc<dyn Provider>,
    pub engine: Engine,
    pub abilities: Abilities,
    /// Keeps the fake serving.
    pub _serving: Box<dyn Any + Send + Sync>,
}

/// What upstreams differ in.
#[derive(Debug, Clone, Default)]
pub struct Abilities {
    /// The upstream's id of a model for pictures, if it makes any.
    pub pictures: Option<&'static str>,
    /// The upstream's id of a model for videos, if it makes any.
    pub videos: Option<&'static str>,
    /// How the models are told what to make, where that is not the dialect's usual way.
    pub inputs: Option<Arc<Inputs>>,
    /// It does the work before it answers the submission.
    pub at_once: bool,
    /// It stops when it is asked to.
    pub stops: bool,
    /// It knows refusals for lack of credit.
    pub credit: bool,
    /// It refuses what was asked for its content.
    pub policy: bool,
    /// It takes what it will refuse for its content, and refuses it at the end.
    pub policy_late: bool,
    /// It answers alike for a job that it no longer knows and for one that it does not know yet.
    pub vague: bool,
    /// Files come with the answer and not behind links.
    pub inline: bool,
    /// Whether it has a model can be asked.
    pub models_known: bool,
    /// Files are at a place that is known beforehand: only who fetches one sees that there is none.
    pub files_apart: bool,
}

impl Specimen {
    fn media(&self) -> bool {
        self.abilities.pictures.is_none()
    }

    /// A job for a picture, or for a video where it makes nothing else.
    pub fn job(&self, prompt: &str) -> Job {
        if self.media() {
            self.video(prompt)
        } else {
            self.picture(prompt)
        }
    }

    pub fn picture(&self, prompt: &str) -> Job {
        self.of(
            prompt,
            self.abilities.pictures.expect("it makes pictures"),
            None,
        )
    }

    pub fn video(&self, prompt: &str) -> Job {
        self.of(
            prompt,
            self.abilities.videos.expect("it makes videos"),
            Some(5),
        )
    }

    fn of(&self, prompt: &str, upstream_model: &str, duration_seconds: Option<u32>) -> Job {
        Job {
            task_id: Uuid::now_v7(),
            attempt: 1,
            model: "model".to_owned(),
            model_title: "Model".to_owned(),
            upstream_model: upstream_model.to_owned(),
            inputs: self.abilities.inputs.clone(),
            fixed: BTreeMap::new(),
            operation: Operation::Text,
            prompt: prompt.to_owned(),
            negative_prompt: None,
            resolution: if duration_seconds.is_some() {
                "720p"
            } else {
                "1K"
            }
            .to_owned(),
            aspect_ratio: "16:9".to_owned(),
            width: 1280,
            height: 720,
            duration_seconds,
            count: 1,
            audio: false,
            seed: Some(7),
            references: Vec::new(),
            webhook_url: None,
        }
    }

    /// Submits a job and follows it to its end.
    async fn run(&self, job: &Job) -> Ended {
        match self.provider.submit(job).await {
            Err(failure) => Ended::NotSubmitted(failure),
            Ok(Submitted::Done(files)) => Ended::Files(files),
            Ok(Submitted::Taken(id)) => self.follow(job, &id).await,
        }
    }

    async fn follow(&self, job: &Job, id: &str) -> Ended {
        let mut errors = 0;
        for _ in 0..POLLS_MAX {
            match self.provider.poll(job, id).await {
                Ok(Poll::Running { .. }) => {}
                Ok(Poll::Done(files)) => return Ended::Files(files),
                Ok(Poll::Failed(failure)) => return Ended::Failed(failure.reason, failure.message),
                Ok(Poll::Canceled) => return Ended::Canceled,
                Err(_) => errors += 1,
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Ended::Never { errors }
    }

    /// The files of a job that ends well.
    async fn files(&self, job: &Job) -> Vec<Rendered> {
        match self.run(job).await {
            Ended::Files(files) => files,
            other => panic!("{}: {other:?}", job.prompt),
        }
    }

    async fn refusal(&self, prompt: &str) -> SubmitFailure {
        let failure = self.provider.submit(&self.job(prompt)).await;
        failure.expect_err(prompt)
    }
}

/// What came of a job.
#[derive(Debug)]
enum Ended {
    NotSubmitted(SubmitFailure),
    Files(Vec<Rendered>),
    Failed(FailureReason, String),
    Canceled,
    Never {
        #[allow(dead_code, reason = "shown when a test fails")]
        errors: u32,
    },
}

/// Reads a file.
pub async fn read(file: &Rendered) -> Result<Bytes, String> {
    let stream = file
        .content
        .open()
        .await
        .map_err(|error| error.to_string())?;
    let chunks: Vec<Bytes> = stream
        .try_collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok(chunks.concat().into())
}

/// The way to a fake, and to others on this machine that its links lead to.
pub fn connection(url: &str) -> Connection {
    let url = url.parse().expect("is a URL");
    let connection = Connection::through(url, support::egress()).expect("TLS can be set up");
    connection.answering_within(ANSWER_MAX)
}

/// What an adapter makes of a call.
pub async fn hear(
    provider: &dyn Provider,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Result<(), HookError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let hook = Hook {
        header: &header,
        body,
        now,
    };
    provider.hear(&hook).await
}

/// Where nobody listens.
pub async fn nowhere() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

pub async fn it_makes_what_is_asked(specimen: &Specimen) {
    if specimen.abilities.pictures.is_some() {
        let job = specimen.picture("a lighthouse");
        let files = specimen.files(&job).await;
        assert_eq!(files.len(), 1);
        assert_eq!(read(&files[0]).await.expect("is there"), picture());
    }
    if specimen.abilities.videos.is_some() {
        let files = specimen
            .files(&specimen.video("a lighthouse in a storm"))
            .await;
        assert_eq!(files.len(), 1);
        assert_eq!(read(&files[0]).await.expect("is there"), clip());
    }
}

pub async fn a_slow_job_is_followed_to_its_end(specimen: &Specimen) {
    let files = specimen
        .files(&specimen.job("[fake:delay=300ms] slowly"))
        .await;
    assert_eq!(files.len(), 1);
}

pub async fn refusals_are_definite_and_say_why(specimen: &Specimen) {
    let all = [
        ("input", Cause::Input, true),
        (
            "policy",
            Cause::Policy,
            specimen.abilities.policy && !specimen.abilities.policy_late,
        ),
        ("busy", Cause::Busy, true),
        ("down", Cause::Busy, true),
        ("credit", Cause::Credit, specimen.abilities.credit),
        ("gone", Cause::Retired, specimen.abilities.models_known),
    ];
    for (directive, cause, offered) in all {
        if offered {
            let prompt = format!("[fake:submit={directive}] refused");
            let refusal = specimen.refusal(&prompt).await;
            assert_eq!(
                (refusal.definite, refusal.cause),
                (true, cause),
                "{directive}: {refusal:?}"
            );
            assert_eq!(refusal.failure.reason, cause.reason());
            assert_eq!(specimen.engine.accepted(&prompt), 0);
        }
    }
}

pub async fn what_is_wrong_with_the_server_is_not_told_to_callers(specimen: &Specimen) {
    let mut refusals = Vec::new();
    if specimen.abilities.credit {
        refusals.push(specimen.refusal("[fake:submit=credit] no money").await);
    }
    if let Some(wrong) = &specimen.wrong_key {
        let refusal = wrong.submit(&specimen.job("with a wrong key")).await;
        let refusal = refusal.expect_err("the key is wrong");
        assert_eq!(
            (refusal.definite, refusal.cause),
            (true, Cause::Key),
            "{refusal:?}"
        );
        refusals.push(refusal);
    }
    for refusal in refusals {
        let words = refusal.failure.message.to_lowercase();
        for inside in ["key", "balance", "credit", "quota", "token", "http"] {
            assert!(!words.contains(inside), "{words}");
        }
    }
}

pub async fn where_nobody_listens_nothing_arrives(specimen: &Specimen) {
    let refusal = specimen.absent.submit(&specimen.job("to nobody")).await;
    let refusal = refusal.expect_err("nobody listens");
    assert_eq!(
        (refusal.definite, refusal.cause),
        (true, Cause::Unreachable)
    );
    if !specimen.abilities.at_once {
        let asked = specimen
            .absent
            .poll(&specimen.job("to nobody"), "an-id")
            .await;
        asked.expect_err("nobody can be asked");
    }
}

pub async fn a_lost_answer_leaves_a_doubt_and_is_not_sent_again(specimen: &Specimen) {
    for directive in ["hang", "cut", "garbled"] {
        let prompt = format!("[fake:submit={directive}] lost");
        let failure = specimen.refusal(&prompt).await;
        assert!(!failure.definite, "{directive}: {failure:?}");
        assert_eq!(specimen.engine.accepted(&prompt), 1, "{directive}");
    }
    let broken = specimen.refusal("[fake:submit=broken] lost").await;
    assert!(!broken.definite, "{broken:?}");
}

pub async fn ends_without_files_are_failures(specimen: &Specimen) {
    let mut all = vec![
        ("failed", FailureReason::ProviderError),
        ("empty", FailureReason::ProviderError),
    ];
    if specimen.abilities.policy {
        all.push(("policy", FailureReason::ContentPolicy));
    }
    if !specimen.abilities.at_once && !specimen.abilities.vague {
        all.push(("forgotten", FailureReason::ProviderError));
    }
    for (directive, reason) in all {
        let job = specimen.job(&format!("[fake:job={directive}] in vain"));
        match specimen.run(&job).await {
            Ended::Failed(found, words) => assert_eq!(found, reason, "{directive}: {words}"),
            // Where the work is done before the answer, its failure is the answer.
            Ended::NotSubmitted(failure) if specimen.abilities.at_once => {
                assert_eq!(failure.failure.reason, reason, "{directive}");
            }
            Ended::Files(files) if directive == "empty" && specimen.abilities.files_apart => {
                let fetched = files[0].content.open().await.map(drop);
                assert!(fetched.expect_err("there is none").gone);
            }
            other => panic!("{directive}: {other:?}"),
        }
    }
}

pub async fn an_unknown_state_is_not_an_end(specimen: &Specimen) {
    if !specimen.abilities.at_once {
        let files = specimen
            .files(&specimen.job("[fake:job=odd] strange"))
            .await;
        assert_eq!(files.len(), 1);
        let job = specimen.job("[fake:job=never] for ever");
        let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
            panic!("it is taken");
        };
        for _ in 0..5 {
            let poll = specimen.provider.poll(&job, &id).await;
            assert!(matches!(poll, Ok(Poll::Running { .. })), "{poll:?}");
        }
    }
}

pub async fn wrong_answers_about_a_job_say_nothing_about_it(specimen: &Specimen) {
    if !specimen.abilities.at_once {
        for directive in ["flapping", "garbled", "cut"] {
            let job = specimen.job(&format!("[fake:poll={directive}] with hiccups"));
            let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
                panic!("it is taken");
            };
            let first = specimen.provider.poll(&job, &id).await;
            assert!(first.is_err(), "{directive}: {first:?}");
            let ended = specimen.follow(&job, &id).await;
            assert!(matches!(ended, Ended::Files(_)), "{directive}: {ended:?}");
        }
    }
}

pub async fn dead_links_and_broken_downloads_are_told_apart(specimen: &Specimen) {
    if specimen.abilities.inline {
        return;
    }
    for (directive, gone) in [("expired", true), ("cut", false)] {
        let job = specimen.job(&format!("[fake:file={directive}] once"));
        let files = specimen.files(&job).await;
        match files[0].content.open().await {
            Err(error) => assert_eq!(error.gone, gone, "{directive}: {error}"),
            Ok(stream) => {
                let read: Result<Vec<Bytes>, _> = stream.try_collect().await;
                read.expect_err("it breaks off");
                assert!(!gone, "{directive}");
            }
        }
        let files = specimen
            .files(&specimen.job(&format!("[fake:file={directive}] again")))
            .await;
        let _ = files[0].content.open().await.map(drop);
        assert!(
            read(&files[0]).await.is_ok(),
            "{directive}: it is there the second time"
        );
    }
}

pub async fn a_job_that_runs_can_be_stopped(specimen: &Specimen) {
    if specimen.abilities.at_once {
        return;
    }
    let job = specimen.job("[fake:delay=60000ms] stop me");
    let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
        panic!("it is taken");
    };
    match specimen
        .provider
        .cancel(&job, &id)
        .await
        .expect("can be asked")
    {
        Cancel::Stopped => assert!(specimen.abilities.stops),
        Cancel::GoesOn if specimen.abilities.stops => {
            let ended = specimen.follow(&job, &id).await;
            assert!(matches!(ended, Ended::Canceled), "{ended:?}");
        }
        Cancel::GoesOn => {}
    }
    let job = specimen.job("too late to stop");
    let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
        panic!("it is taken");
    };
    specimen.follow(&job, &id).await;
    assert_eq!(
        specimen
            .provider
            .cancel(&job, &id)
            .await
            .expect("can be asked"),
        Cancel::GoesOn
    );
}

pub async fn the_operator_can_ask_what_works(specimen: &Specimen) {
    let model = specimen.job("").upstream_model;
    let probe = specimen.provider.probe(&model).await;
    assert!(matches!(probe, Probe::Ready | Probe::Answers), "{probe:?}");
    let probe = specimen.absent.probe(&model).await;
    assert!(matches!(probe, Probe::Down(_)), "{probe:?}");
    if let Some(wrong) = &specimen.wrong_key {
        assert_eq!(wrong.probe(&model).await, Probe::KeyRefused);
    }
    assert_eq!(specimen.engine.accepted(""), 0, "asking costs nothing");
}

/// Makes a test of each promise for one adapter.
macro_rules! conformance {
    ($specimen:path: $($promise:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $promise() {
            $crate::upstreams::conformance::$promise(&$specimen().await).await;
        }
    )+};
    ($specimen:path) => {
        $crate::upstreams::conformance::conformance! {
            $specimen:
            it_makes_what_is_asked,
            a_slow_job_is_followed_to_its_end,
            refusals_are_definite_and_say_why,
            what_is_wrong_with_the_server_is_not_told_to_callers,
            where_nobody_listens_nothing_arrives,
            a_lost_answer_leaves_a_doubt_and_is_not_sent_again,
            ends_without_files_are_failures,
            an_unknown_state_is_not_an_end,
            wrong_answers_about_a_job_say_nothing_about_it,
            dead_links_and_broken_downloads_are_told_apart,
            a_job_that_runs_can_be_stopped,
            the_operator_can_ask_what_works,
        }
    };
}
pub(super) use conformance;
