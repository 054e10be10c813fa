//! What a prompt asks a fake to do: `[fake:submit=busy]`, `[fake:delay=300ms,job=policy]`. Whatever a
//! prompt does not say goes well, and at once.

use std::time::Duration;

/// What comes of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Submit {
    #[default]
    Taken,
    /// Refused for what was asked.
    Policy,
    Input,
    /// Too many calls.
    Busy,
    /// The account has no credit.
    Credit,
    /// The model is no longer there.
    Gone,
    /// The server breaks, and has not taken it.
    Broken,
    /// Not taken: the server is down for the moment.
    Down,
    /// Taken, but there is never an answer.
    Hang,
    /// Taken, but the connection breaks within the answer.
    Cut,
    /// Taken, but the answer is no JSON.
    Garbled,
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Job {
    #[default]
    Done,
    /// The engine breaks.
    Failed,
    /// What was made is refused.
    Policy,
    /// It ends without a file.
    Empty,
    /// It never ends.
    Never,
    /// It is in a state that no documentation knows, and then ends well.
    Odd,
    /// The upstream forgets it.
    Forgotten,
}

/// How questions about a job are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Poll {
    #[default]
    Well,
    /// Every second one with an error of the server's.
    Flapping,
    /// The first few not in JSON.
    Garbled,
    /// The first few break off.
    Cut,
}

/// How files are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum File {
    #[default]
    Well,
    /// The first time the link is dead; the upstream gives another when it is asked again.
    Expired,
    /// It breaks off the first time.
    Cut,
    /// It stands still in the middle the first time.
    Held,
    /// Every link is dead.
    Gone,
    /// It is a page that says sorry.
    Noise,
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directives {
    pub submit: Submit,
    pub job: Job,
    pub poll: Poll,
    pub file: File,
    /// How long the work takes.
    pub delay: Duration,
}

impl Directives {
    /// Anything, the same for the same prompt and seed. Three quarters of all go well at each turn.
    pub fn any(prompt: &str, seed: u64) -> Self {
        let hash = |seed: u64, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let mut random = fastrand::Rng::with_seed(prompt.bytes().fold(seed, hash));
        fn one<T: Copy + Default>(random: &mut fastrand::Rng, others: &[T]) -> T {
            match random.u8(..4) {
                0 => others[random.usize(..others.len())],
                _ => T::default(),
            }
        }
        Self {
            submit: one(
                &mut random,
                &[
                    Submit::Policy,
                    Submit::Input,
                    Submit::Busy,
                    Submit::Credit,
                    Submit::Gone,
                    Submit::Broken,
                    Submit::Down,
                    Submit::Hang,
                    Submit::Cut,
                    Submit::Garbled,
                ],
            ),
            job: one(
                &mut random,
                &[
                    Job::Failed,
                    Job::Policy,
                    Job::Empty,
                    Job::Never,
                    Job::Odd,
                    Job::Forgotten,
                ],
            ),
            poll: one(&mut random, &[Poll::Flapping, Poll::Garbled, Poll::Cut]),
            file: one(
                &mut random,
                &[File::Expired, File::Cut, File::Gone, File::Noise],
            ),
            delay: match random.u8(..8) {
                0 => Duration::from_millis(random.u64(300..900)),
                _ => Duration::from_millis(random.u64(..80)),
            },
        }
    }

    /// Reads a prompt.
    ///
    /// # Panics
    /// When a directive is not known: a test would not do what it says.
    pub fn of(prompt: &str) -> Self {
        let mut read = Self::default();
        let Some((_, rest)) = prompt.split_once("[fake:") else {
            return read;
        };
        let (list, _) = rest.split_once(']').expect("the directives end");
        for directive in list.split(',') {
            let (name, value) = directive.split_once('=').expect("a directive has a value");
            match (name.trim(), value.trim()) {
                ("submit", value) => read.submit = submit(value),
                ("job", value) => read.job = job(value),
                ("poll", value) => read.poll = poll(value),
                ("file", value) => read.file = file(value),
                ("delay", value) => {
                    let ms = value.strip_suffix("ms").and_then(|ms| ms.parse().ok());
                    read.delay = Duration::from_millis(ms.expect("a delay is like 300ms"));
                }
                (name, _) => panic!("{name} is no directive"),
            }
        }
        read
    }
}

fn submit(value: &str) -> Submit {
    match value {
        "policy" => Submit::Policy,
        "input" => Submit::Input,
        "busy" => Submit::Busy,
        "credit" => Submit::Credit,
        "gone" => Submit::Gone,
        "broken" => Submit::Broken,
        "down" => Submit::Down,
        "hang" => Submit::Hang,
        "cut" => Submit::Cut,
        "garbled" => Submit::Garbled,
        other => panic!("{other} is nothing that comes of a submission"),
    }
}

fn job(value: &str) -> Job {
    match value {
        "failed" => Job::Failed,
        "policy" => Job::Policy,
        "empty" => Job::Empty,
        "never" => Job::Never,
        "odd" => Job::Odd,
        "forgotten" => Job::Forgotten,
        other => panic!("{other} is no end of a job"),
    }
}

fn poll(value: &str) -> Poll {
    match value {
        "flapping" => Poll::Flapping,
        "garbled" => Poll::Garbled,
        "cut" => Poll::Cut,
        other => panic!("{other} is no way to answer"),
    }
}

fn file(value: &str) -> File {
    match value {
        "expired" => File::Expired,
        "cut" => File::Cut,
        "held" => File::Held,
        "gone" => File::Gone,
        "noise" => File::Noise,
        other => panic!("{other} is no way to give out files"),
    }
}
