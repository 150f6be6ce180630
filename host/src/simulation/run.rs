//! One run from one seed: a scheduler of turns and accidents, and the judgement at its end. The scheduler decides who is
//! next; what happens then is the business of the code under test.

use donjon_core::{IncidentId, Seq, TenantId, Timestamp};
use donjon_store::simulation::{Ending, Fault, Sabotage, SimulatedDisk};

use super::dice::Dice;
use super::follower::Follower;
use super::ledger::Ledger;
use super::oracle::{self, History};
use super::retries;
use super::scripts::{BEGIN_MS, Direction};
use super::server::{Ground, Server};
use super::workload::Workload;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: i64 = 60 * 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// Lives that end while they begin, one after the other.
const MAX_FALSE_STARTS: usize = 50;

/// What a run came through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub steps: u64,
    pub entries: u64,
    pub lives: u64,
    pub faults: u64,
    pub refused: u64,
    pub told: u64,
    pub reloads: u64,
    pub checkpoints: u64,
    pub freed: u64,
    pub pairs: u64,
    pub dropped: u64,
    /// Times that days stayed only because a command that judges again needed them.
    pub days_kept: u64,
    /// Commands that judge again and whose documents were freed since.
    pub rejudged_then_freed: u64,
    /// Writes that a loss of power left behind one that it took.
    pub reordered: u64,
    /// Lives that began by cutting off a group that was never synced and of which some entries read.
    pub cut_groups: u64,
    /// Commands whose key was used before.
    pub retries: u64,
}

/// What is wrong, and what was done up to there.
#[derive(Debug)]
pub struct Failure {
    pub what: String,
    pub steps: Vec<String>,
}

/// Who has the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Send,
    Journal,
    Worker,
    Flush,
    Clock,
    Fault,
    Surge,
    Hindsight,
    Stall,
    Crash,
    Stop,
    LoseState,
    Checkpoint,
    Free,
    Reload,
    Follow,
}

const STEPS: [(usize, Step); 16] = [
    (260, Step::Send),
    (240, Step::Journal),
    (240, Step::Worker),
    (40, Step::Flush),
    (50, Step::Clock),
    (45, Step::Fault),
    (20, Step::Surge),
    (8, Step::Hindsight),
    (20, Step::Stall),
    (15, Step::Crash),
    (6, Step::Stop),
    (2, Step::LoseState),
    (25, Step::Checkpoint),
    (25, Step::Free),
    (8, Step::Reload),
    (50, Step::Follow),
];

/// A run under way.
struct Run {
    dice: Dice,
    ground: Ground,
    server: Option<Server>,
    ledger: Ledger,
    workload: Workload,
    followers: Vec<Follower>,
    history: History,
    /// Days of the journal up to here may have been freed.
    freeable: Seq,
    /// Faults that the code under test was told of so far.
    faults_seen: u64,
    coverage: Coverage,
    log: Vec<String>,
}

/// Plays a seed to its end.
pub fn play(seed: u64, sabotage: Option<Sabotage>) -> Result<Coverage, Box<Failure>> {
    let mut dice = Dice::new(seed);
    let ground = Ground::new(&mut dice, sabotage);
    let workload = Workload::new(&mut dice);
    let mut run = Run {
        dice,
        ground,
        server: None,
        ledger: Ledger::default(),
        workload,
        followers: vec![Follower::new("default"), Follower::new("acme")],
        history: History::new(),
        freeable: Seq(0),
        faults_seen: 0,
        coverage: Coverage::default(),
        log: Vec::new(),
    };
    match run.through() {
        Ok(()) => Ok(run.coverage),
        Err(what) => Err(Box::new(Failure { what, steps: run.log })),
    }
}

impl Run {
    fn through(&mut self) -> Result<(), String> {
        let ground = &self.ground;
        let (required, batch) = (ground.required, ground.max_batch_entries);
        self.log(format!("plugins required: {required}, entries of a batch: {batch}"));
        self.begin_life()?;
        for load in self.workload.first_rules(&mut self.dice) {
            let server = self.server.as_ref().ok_or("no server")?;
            self.ledger.send(&server.intake, load);
        }
        let steps = 60 + self.dice.below(140);
        for _ in 0..steps {
            let step = self.dice.weighed(&STEPS);
            self.step(step)?;
        }
        self.settle_down()?;
        self.judge()?;
        // Once more, from what is durable.
        self.log("the power goes once everything is quiet");
        self.end_life(Ending::Power)?;
        self.settle_down()?;
        self.judge()
    }

    fn log(&mut self, what: impl Into<String>) {
        let calls = self.ground.disk.calls();
        self.log.push(format!("[{calls}] {}", what.into()));
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        self.coverage.steps += 1;
        let done = match step {
            Step::Crash => {
                let ending = *self.dice.pick(&[Ending::Process, Ending::Power]);
                self.log(format!("crash: {ending:?}"));
                return self.end_life(ending);
            }
            Step::Stop => {
                self.settle_down()?;
                self.log("stop");
                self.server.as_mut().ok_or("no server")?.thread.mark_synced();
                return self.end_life(Ending::Process);
            }
            Step::LoseState => {
                self.log("derived state does not open");
                self.server = None;
                self.ground.disk.lose_state();
                return self.end_life(Ending::Process);
            }
            Step::Fault => {
                let fault = *self
                    .dice
                    .pick(&[Fault::Full, Fault::Broken, Fault::DeathMidway, Fault::DeathAfter]);
                let calls = self.dice.below(10) as u64;
                self.ground.disk.plan(calls, fault);
                format!("{fault:?} in {calls} calls")
            }
            Step::Surge => self.surge()?,
            Step::Hindsight => self.hindsight()?,
            Step::Stall if self.ground.required => {
                let calls = 1 + self.dice.below(4);
                self.ground.direction.stall(calls);
                format!("plugins stall for {calls} calls")
            }
            Step::Stall => return Ok(()),
            Step::Clock => self.move_clock(),
            Step::Send => self.send()?,
            _ => self.turn(step)?,
        };
        self.log(format!("{step:?}: {done}"));
        self.hear()
    }

    /// A turn of the server itself.
    fn turn(&mut self, step: Step) -> Result<String, String> {
        let server = self.server.as_mut().ok_or("no server")?;
        let newest = server.progress.accepted();
        match step {
            Step::Journal => {
                let worked = server.thread.turn();
                self.ground.disk.set_newest(server.journal.last_seq());
                Ok(format!("{worked}, entries {newest} to {}", server.progress.accepted()))
            }
            Step::Worker => {
                let waiting = server.waiting();
                let entries = if self.dice.percent(60) {
                    waiting
                } else {
                    1 + self.dice.below(waiting.max(1))
                };
                let applied = server.apply(entries);
                let cursor = server.progress.applied();
                Ok(match applied {
                    Ok(()) => format!("{entries} of {waiting}, cursor {cursor}"),
                    Err(error) => self.broken(&error)?,
                })
            }
            Step::Flush => Ok(match server.flush() {
                Ok(()) => "done".to_owned(),
                Err(error) => self.broken(&error)?,
            }),
            Step::Checkpoint => {
                let made = server.checkpoint();
                self.coverage.checkpoints += u64::from(made.is_ok());
                made.map(|()| "made".to_owned())
            }
            Step::Free => {
                let first = server.journal.first_seq();
                oracle::read_journal(&mut self.history, &server.journal, self.freeable)?;
                let confirmed = server.progress.checkpointed().min(server.progress.flushed());
                self.freeable = self.freeable.max(confirmed);
                self.coverage.days_kept += u64::from(server.thread.keeps_days_for_commands());
                server.thread.free_old_days();
                server.thread.mark_if_quiet();
                self.coverage.freed += server.journal.first_seq().0 - first.0;
                Ok(format!("up to {}", server.journal.first_seq()))
            }
            Step::Reload => {
                server.reload_plugins(&self.ground);
                Ok("plugins".to_owned())
            }
            _ => {
                for follower in &mut self.followers {
                    follower.poll(server.state.reader());
                }
                Ok("clients".to_owned())
            }
        }
    }

    /// The worker ended: without a fault of the disk it must not.
    fn broken(&mut self, error: &dyn std::fmt::Display) -> Result<String, String> {
        let faults = self.ground.disk.faults();
        if faults == self.faults_seen {
            return Err(format!("the worker ended without a fault of the disk: {error}"));
        }
        if !self.ground.disk.is_dead() {
            // What was acknowledged before is heard; the process stops and is started again.
            self.ledger.listen();
            self.end_life(Ending::Process)?;
        }
        Ok(format!("ended: {error}"))
    }

    /// Many requests make one group of many writes, and the process dies in one of them.
    fn surge(&mut self) -> Result<String, String> {
        for _ in 0..5 {
            self.send()?;
        }
        let calls = 2 + self.dice.below(6) as u64;
        self.ground.disk.plan(calls, Fault::DeathMidway);
        self.turn(Step::Journal)
    }

    /// What may be freed grows old, and a person has all of it judged again.
    fn hindsight(&mut self) -> Result<String, String> {
        self.turns(&[Step::Worker, Step::Flush, Step::Checkpoint, Step::Checkpoint])?;
        self.pass_time(DAY_MS, 0);
        let load = self.workload.rejudge_all(&mut self.dice);
        let server = self.server.as_ref().ok_or("no server")?;
        self.ledger.send(&server.intake, load);
        self.turns(&[Step::Journal, Step::Worker, Step::Free])?;
        Ok("all is judged again, and grows old".to_owned())
    }

    /// Turns of a server that may die in each.
    fn turns(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            if !self.ground.disk.is_dead() {
                self.turn(*step)?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<String, String> {
        let now = Timestamp(self.ground.clock_ms);
        let incidents = self.incidents()?;
        let load = self.workload.draw(&mut self.dice, now, &incidents);
        let what = format!("{} {:?}", load.tenant, load.names);
        let server = self.server.as_ref().ok_or("no server")?;
        self.ledger.send(&server.intake, load);
        Ok(what)
    }

    /// Incidents as a person would see them.
    fn incidents(&self) -> Result<Vec<(TenantId, IncidentId)>, String> {
        let server = self.server.as_ref().ok_or("no server")?;
        let reader = server.state.reader();
        let mut found = Vec::new();
        for tenant in reader.tenants().map_err(|error| error.to_string())? {
            let all = reader.incidents(&tenant, |incident| {
                found.push((tenant.clone(), incident.id));
                std::ops::ControlFlow::Continue(())
            });
            all.map_err(|error| error.to_string())?;
        }
        Ok(found)
    }

    /// Time passes, or the clock jumps while none does.
    fn move_clock(&mut self) -> String {
        let by = self.dice.next();
        let (passed, jumped) = match self.dice.below(20) {
            0..3 => (DAY_MS + by % DAY_MS, 0),
            3 => (0, -3 * HOUR_MS + i64::try_from(by % MINUTE_MS).unwrap()),
            4 => (0, 50 * HOUR_MS),
            5..10 => (by % (120 * MINUTE_MS), 0),
            _ => (by % MINUTE_MS, 0),
        };
        self.pass_time(passed, jumped);
        format!("{passed} ms pass, then a jump of {jumped} ms")
    }

    fn pass_time(&mut self, passed_ms: u64, jumped_ms: i64) {
        if let Some(server) = &self.server {
            server.clock.advance(passed_ms);
            server.clock.jump(jumped_ms);
        }
        let now = self.ground.clock_ms.saturating_add(passed_ms);
        self.ground.clock_ms = now.saturating_add_signed(jumped_ms);
    }

    /// What a turn led to: a death, or answers.
    fn hear(&mut self) -> Result<(), String> {
        if self.ground.disk.is_dead() {
            let ending = *self.dice.pick(&[Ending::Process, Ending::Power]);
            self.log(format!("died in a call: {ending:?}"));
            return self.end_life(ending);
        }
        self.ledger.listen();
        Ok(())
    }

    /// Ends this life and begins the next one.
    fn end_life(&mut self, ending: Ending) -> Result<(), String> {
        self.server = None;
        self.ledger.hang_up();
        self.ground.disk.restart(ending).map_err(|error| error.to_string())?;
        self.begin_life()
    }

    fn begin_life(&mut self) -> Result<(), String> {
        for _ in 0..MAX_FALSE_STARTS {
            self.coverage.lives += 1;
            if self.dice.percent(20) {
                let calls = self.dice.below(12) as u64;
                let fault = *self
                    .dice
                    .pick(&[Fault::Full, Fault::Broken, Fault::DeathMidway, Fault::DeathAfter]);
                self.ground.disk.plan(calls, fault);
            }
            let faults = self.ground.disk.faults();
            let opened = Server::open(&self.ground);
            let met = self.ground.disk.faults() > faults;
            self.faults_seen = self.ground.disk.faults();
            match opened {
                Ok(server) if !self.ground.disk.is_dead() => {
                    oracle::read_journal(&mut self.history, &server.journal, self.freeable)?;
                    oracle::answers_are_true(&self.history, &self.ledger)?;
                    self.ground.disk.set_newest(server.journal.last_seq());
                    self.log(format!("life {} begins", self.coverage.lives));
                    self.coverage.cut_groups += u64::from(server.cut_entries > 0);
                    self.server = Some(server);
                    return Ok(());
                }
                Err(error) if !met => return Err(format!("the server does not start: {error}")),
                Ok(_) | Err(_) => {
                    let ending = *self.dice.pick(&[Ending::Process, Ending::Power]);
                    self.log(format!("died while it began: {ending:?}"));
                    self.ground.disk.restart(ending).map_err(|error| error.to_string())?;
                }
            }
        }
        Err("the server never starts".to_owned())
    }

    /// No more accidents: everything that was sent is taken, applied and told.
    fn settle_down(&mut self) -> Result<(), String> {
        self.ground.disk.heal();
        self.ground.direction.stall(0);
        let server = self.server.as_mut().ok_or("no server")?;
        while server.thread.turn() || server.waiting() > 0 {
            self.ground.disk.set_newest(server.journal.last_seq());
            let waiting = server.waiting();
            let applied = server.apply(waiting).and_then(|()| server.flush());
            if let Err(error) = applied {
                self.broken(&error)?;
                return self.settle_down();
            }
            self.ledger.listen();
        }
        Ok(())
    }

    fn judge(&mut self) -> Result<(), String> {
        self.ledger.listen();
        self.ledger.nobody_waits()?;
        let server = self.server.as_ref().ok_or("no server")?;
        let reader = server.state.reader();
        oracle::read_journal(&mut self.history, &server.journal, self.freeable)?;
        oracle::answers_are_true(&self.history, &self.ledger)?;
        let batch = *self.dice.pick(&[1, 3, 17, 1000]);
        let ground = &self.ground;
        retries::are_answered_alike(&self.history, &self.ledger)?;
        let (once, retries) = retries::each_key_once(&self.history);
        let undisturbed = oracle::undisturbed(ground, &once, server.journal.last_seq(), batch)?;
        let dump = |state: &donjon_store::StateReader| state.dump().map_err(|error| error.to_string());
        let found = dump(reader)?;
        oracle::same(&dump(undisturbed.reader())?, &found)?;
        oracle::limits_hold(reader)?;
        oracle::no_incident_is_lost(reader)?;
        oracle::nothing_is_silent(&once, reader)?;
        for follower in &mut self.followers {
            follower.poll(reader);
            follower.knows(reader)?;
        }
        self.coverage.entries = self.history.len() as u64;
        self.coverage.retries = retries;
        self.coverage.rejudged_then_freed = oracle::rejudged_before(&self.history, server.journal.first_seq());
        self.coverage.dropped = self.ground.direction.dropped();
        self.coverage.pairs = found.len() as u64;
        self.coverage.faults = self.ground.disk.faults();
        self.coverage.reordered = self.ground.disk.reordered();
        self.coverage.refused = self.ledger.refusals.values().sum();
        self.coverage.told = self.ledger.told;
        self.coverage.reloads = self.followers.iter().map(|follower| follower.reloads).sum();
        Ok(())
    }
}

impl Ground {
    fn new(dice: &mut Dice, sabotage: Option<Sabotage>) -> Ground {
        // Memory, where there is a file system of it: runs write little and sync often.
        let memory = std::path::Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        Ground {
            dir: tempfile::Builder::new()
                .prefix("donjon-simulation-")
                .tempdir_in(parent)
                .unwrap(),
            disk: SimulatedDisk::new(dice.next(), sabotage),
            clock_ms: BEGIN_MS,
            max_batch_entries: *dice.pick(&[1, 2, 7, 64, 1000]),
            changes_per_commit: *dice.pick(&[1, 2, 5, 1000]),
            max_lag_entries: *dice.pick(&[30, 1000, 100_000]),
            required: dice.percent(50),
            direction: Direction::with_slices(*dice.pick(&[1, 3, 512])),
        }
    }
}
