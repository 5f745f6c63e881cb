//! The end of the primary: nothing of ours is left.
use std::time::Duration;

use tokio::sync::mpsc;

use crate::supervise::breeder::Breeder;
use crate::supervise::driver::Driver;
use crate::supervise::note::Note;
use crate::supervise::signals::Signals;

/// How long fork servers may take to die at the end: one that has loaded very much takes its time.
const FORK_SERVERS_DIE_WITHIN: Duration = Duration::from_secs(5);
/// How long what workers have left may take to die at the end. What the kernel does not let go is not waited for.
const DIES_WITHIN: Duration = Duration::from_secs(1);

impl Driver {
    /// All have ended: the fork servers go too, and nothing of ours is left.
    pub(super) async fn leave(&mut self, inbox: &mut mpsc::Receiver<Note>, signals: &mut Signals) {
        let generations = std::mem::take(&mut self.generations);
        let mut breeders: Vec<Breeder> = generations.into_values().filter_map(|held| held.breeder).collect();
        breeders.iter().for_each(Breeder::dismiss);
        let all_end = async {
            while !breeders.is_empty()
                && let Some(note) = inbox.recv().await
            {
                if let Note::ForkServerGone { pid, loss } = note {
                    loss.left.into_iter().for_each(|group| self.orphans.worker_ended(group));
                    breeders.retain(|breeder| breeder.pid() != pid);
                }
            }
        };
        let _ = tokio::time::timeout(FORK_SERVERS_DIE_WITHIN, all_end).await;
        self.reap_orphans();
        let die = async {
            while self.orphans.are_left() {
                let _ = signals.child.recv().await;
                self.reap_orphans();
            }
        };
        let _ = tokio::time::timeout(DIES_WITHIN, die).await;
        for socket in &self.sockets {
            // What the user's main has kept of the socket must not keep the port.
            socket.listener.shut_down();
        }
    }
}
