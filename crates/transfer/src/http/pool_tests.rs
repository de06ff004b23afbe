use std::net::Ipv4Addr;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn origin(host: &str) -> Origin {
    Origin::of(&url::Url::parse(&format!("http://{host}/")).unwrap()).unwrap()
}

async fn stream() -> (Stream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Stream::plain(client).unwrap(), listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn seats_are_limited_per_origin_and_given_in_order() {
    let pool = Pool::new(2);
    let (a, b) = (origin("a.example"), origin("b.example"));
    let first = pool.seat(&a).await;
    let second = pool.seat(&a).await;
    let _elsewhere = pool.seat(&b).now_or_never().expect("another origin has seats of its own");
    let mut third = Box::pin(pool.seat(&a));
    let mut fourth = Box::pin(pool.seat(&a));
    assert!(futures_util::poll!(&mut third).is_pending());
    assert!(futures_util::poll!(&mut fourth).is_pending());
    drop(first);
    assert!(futures_util::poll!(&mut fourth).is_pending());
    let third = third.now_or_never().expect("who came first goes first");
    drop(third);
    drop(second);
    assert!(fourth.now_or_never().is_some());
}

#[tokio::test]
async fn a_waiter_that_gives_up_does_not_keep_the_seat() {
    let pool = Pool::new(1);
    let a = origin("a.example");
    let seat = pool.seat(&a).await;
    let mut gone = Box::pin(pool.seat(&a));
    assert!(futures_util::poll!(&mut gone).is_pending());
    let mut next = Box::pin(pool.seat(&a));
    assert!(futures_util::poll!(&mut next).is_pending());
    drop(gone);
    drop(seat);
    assert!(next.now_or_never().is_some());
    assert!(pool.state().hosts.is_empty(), "an origin nobody uses is forgotten");
}

#[tokio::test]
async fn spare_seats_never_wait_and_are_called_back() {
    let pool = Pool::new(2);
    let a = origin("a.example");
    let _first = pool.seat(&a).await;
    let spare = pool.spare_seat(&a).expect("one is free");
    assert!(pool.spare_seat(&a).is_none());
    let mut recalled = Box::pin(spare.recalled());
    assert!(futures_util::poll!(&mut recalled).is_pending());
    let mut waiter = Box::pin(pool.seat(&a));
    assert!(futures_util::poll!(&mut waiter).is_pending());
    assert!(recalled.now_or_never().is_some(), "somebody waits for it");
    assert!(pool.spare_seat(&a).is_none(), "nobody overtakes who waits");
    drop(spare);
    assert!(waiter.now_or_never().is_some());
}

#[tokio::test]
async fn the_limit_can_be_raised_while_workers_wait() {
    let pool = Pool::new(1);
    let a = origin("a.example");
    let _seat = pool.seat(&a).await;
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(pool.seat(&a))).collect();
    for waiter in &mut waiting {
        assert!(futures_util::poll!(waiter).is_pending());
    }
    pool.set_seats(3);
    let seats: Vec<_> = waiting.into_iter().filter_map(FutureExt::now_or_never).collect();
    assert_eq!(seats.len(), 2);
    pool.set_seats(1);
    assert!(pool.spare_seat(&a).is_none());
}

#[tokio::test]
async fn idle_connections_are_used_again_unless_the_peer_has_closed() {
    let pool = Pool::new(8);
    let a = origin("a.example");
    let seat = pool.seat(&a).await;
    let (good, _peer) = stream().await;
    let (closed, peer) = stream().await;
    let local = good.local;
    seat.keep(good);
    seat.keep(closed);
    drop(peer);
    // The news of the close comes by way of the runtime's own poll.
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let is_dead = {
                let mut state = pool.state();
                let host = state.hosts.get_mut(&a).unwrap();
                host.idle.iter_mut().any(|idle| !idle.stream.is_quiet())
            };
            if is_dead {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the close is noticed");
    let with = |reach| Route { reach, ..Route::default() };
    let public = with(Reach { is_public_only: true, ..Reach::default() });
    let from = with(Reach { from: Some("lo".parse().unwrap()), ..Reach::default() });
    let by_proxy = Route { proxy: Some("p".into()), ..Route::default() };
    assert!(pool.take_idle(&a, &by_proxy).is_none(), "a direct connection is not one by a proxy");
    assert!(pool.take_idle(&a, &from).is_none(), "it was made by any interface");
    assert!(pool.take_idle(&a, &public).is_none(), "a connection to loopback is not public");
    assert_eq!(pool.take_idle(&a, &Route::default()).unwrap().local, local);
    assert!(pool.take_idle(&a, &Route::default()).is_none());
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_after_a_while_and_nothing_ticks_then() {
    let pool = Pool::new(8);
    let a = origin("a.example");
    let seat = pool.seat(&a).await;
    let (connection, _peer) = stream().await;
    seat.keep(connection);
    drop(seat);
    assert!(pool.state().is_sweeping);
    tokio::time::sleep(IDLE_MAX + Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    let state = pool.state();
    assert!(state.hosts.is_empty() && !state.is_sweeping && state.idle_count == 0);
}

#[tokio::test]
async fn a_change_of_the_network_closes_what_is_idle() {
    let pool = Pool::new(8);
    let a = origin("a.example");
    let seat = pool.seat(&a).await;
    let (connection, _peer) = stream().await;
    seat.keep(connection);
    pool.drop_idle();
    assert!(pool.take_idle(&a, &Route::default()).is_none());
}
