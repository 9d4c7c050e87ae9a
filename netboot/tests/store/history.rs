//! What clients of the embedded store see is one history, while its log is compacted and its disk is full in between.

use super::clients::Clients;
use super::{Folder, put};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use weft_netboot::io::embedded::Embedded;
use weft_netboot::store::Store;

/// Calls that are to be answered in all.
const CALLS: u64 = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_is_one_history() {
    let folder = Folder::new("history");
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&folder.file()).unwrap());
    let clients = Clients::start(&store);
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut last = 0;
    loop {
        let answered = clients.answered.load(Ordering::Relaxed);
        assert!(Instant::now() < deadline, "{answered} calls in time");
        if answered >= CALLS {
            break;
        }
        if answered >= last + 100 {
            last = answered;
            store.compact(store.read("linear/").await.unwrap().revision).await.unwrap();
            store.commit(put("other", &last.to_be_bytes())).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let history = clients.finish().await;
    let (answered, lost) = history.counts();
    println!("embedded: {answered} calls answered, {lost} not");
    history.check().unwrap_or_else(|wrong| panic!("{wrong}"));
}
