//! What the machine says of processes: processor time and memory, from Linux's `/proc` (proc(5)).

use std::collections::HashMap;
use std::time::Duration;

use crate::Failure;

/// A tick of processor time as `/proc` counts it: `USER_HZ` is 100 on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// The fields of a `stat` file that count here.
struct Stat {
    parent: u32,
    processor_time: Duration,
}

impl Stat {
    /// Reads the `stat` of a process or thread; `of` is its directory below `/proc`.
    fn read(of: &str) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(format!("/proc/{of}/stat"))?;
        // The second field, a name in parentheses, may hold anything.
        let (_, rest) = text.rsplit_once(')').ok_or("a stat without a name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Numbers of proc(5), of which the first two are gone: 4 parent, 14 user, 15 system.
        let field = |number: usize| fields.get(number - 3).ok_or("a stat that is too short");
        let ticks = field(14)?.parse::<u32>()? + field(15)?.parse::<u32>()?;
        Ok(Self {
            parent: field(4)?.parse()?,
            processor_time: TICK * ticks,
        })
    }
}

/// The processor time of this process so far, threads that ended included.
pub fn own_processor_time() -> Result<Duration, Failure> {
    Ok(Stat::read("self")?.processor_time)
}

/// The processor time of this thread so far.
pub fn thread_processor_time() -> Result<Duration, Failure> {
    Ok(Stat::read("thread-self")?.processor_time)
}

/// The processor time so far of each child of a process.
pub fn children_processor_time(parent: u32) -> Result<HashMap<u32, Duration>, Failure> {
    let mut children = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that ends meanwhile has none.
        if let Ok(stat) = Stat::read(&process.to_string())
            && stat.parent == parent
        {
            children.insert(process, stat.processor_time);
        }
    }
    Ok(children)
}

/// How much memory a process has in use; `of` is its directory below `/proc`.
pub fn resident_bytes(of: &str) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{of}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.ok_or("a status without VmRSS")?.parse::<u64>()? * 1024)
}
