//! The writing thread: what a full disk undoes, and what is read beside it.
#![allow(clippy::unwrap_used)]

use super::*;

/// A row of `bytes` bytes under a name.
fn row(
    ledger: &Ledger,
    name: &'static str,
    bytes: usize,
) -> impl Future<Output = Result<()>> + use<> {
    ledger.write(move |c| {
        c.execute(
            "INSERT INTO t VALUES (?1, zeroblob(?2))",
            (name, i64::try_from(bytes).unwrap_or(0)),
        )?;
        Ok(())
    })
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_read_does_not_wait_for_what_is_written_nor_hold_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("messages.db")).unwrap();
    ledger
        .write(|c| Ok(c.execute_batch("CREATE TABLE t (name TEXT, filling BLOB)")?))
        .await
        .unwrap();
    row(&ledger, "a", 10).await.unwrap();
    let count =
        |c: &Connection| Ok(c.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0))?);
    // The writing thread is held up, with a row that is not committed.
    let (go, gate) = mpsc::channel::<()>();
    let held = ledger.write(move |c| {
        c.execute("INSERT INTO t VALUES ('b', '')", [])?;
        let _ = gate.recv();
        Ok(())
    });
    assert_eq!(ledger.read(count).await.unwrap(), 1);
    go.send(()).unwrap();
    held.await.unwrap();
    // A reader is held up in the middle.
    let (began, beginning) = oneshot::channel();
    let (go, gate) = mpsc::channel::<()>();
    let reading = tokio::spawn({
        let ledger = ledger.clone();
        async move {
            ledger
                .read(move |c| {
                    let before = count(c)?;
                    let _ = began.send(());
                    let _ = gate.recv();
                    Ok((before, count(c)?))
                })
                .await
        }
    });
    beginning.await.unwrap();
    row(&ledger, "c", 10).await.unwrap();
    go.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), (2, 2), "as of one moment");
    assert_eq!(ledger.read(count).await.unwrap(), 3);
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_disk_refuses_what_it_undid_and_keeps_what_it_said_it_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("messages.db")).unwrap();
    ledger
        .write(|c| {
            c.execute_batch("CREATE TABLE t (name TEXT, filling BLOB)")?;
            let pages: i64 = c.pragma_query_value(None, "page_count", |r| r.get(0))?;
            Ok(c.pragma_update_and_check(None, "max_page_count", pages + 20, |_| Ok(()))?)
        })
        .await
        .unwrap();
    // One batch: the thread is held up until all of them wait.
    let (go, gate) = mpsc::channel::<()>();
    let held = ledger.write(move |_| {
        let _ = gate.recv();
        Ok(())
    });
    let waiting = [
        row(&ledger, "a", 10),
        row(&ledger, "too large", 1 << 20),
        row(&ledger, "b", 10),
        row(&ledger, "c", 10),
    ];
    go.send(()).unwrap();
    let _ = held.await;
    let mut said = Vec::new();
    for (name, outcome) in ["a", "too large", "b", "c"].into_iter().zip(waiting) {
        match outcome.await {
            Ok(()) => said.push(name.to_owned()),
            Err(error) => assert!(error.trouble() == Some(Trouble::Full), "{name}: {error}"),
        }
    }
    let names = |c: &Connection| -> Result<Vec<String>> {
        Ok(c.prepare("SELECT name FROM t ORDER BY rowid")?
            .query_map([], |r| r.get(0))?
            .collect::<rusqlite::Result<_>>()?)
    };
    assert_eq!(ledger.write(names).await.unwrap(), said);
    assert!(said.contains(&"c".to_owned()), "one that does not fit spoils no later ones: {said:?}");
}
