//! Stories of hosts: drained, away for a while, rebooted, full, lost for good.

use crate::player::play;

#[test]
fn a_drained_node_is_left_by_one_pod_after_the_other() {
    let script = "
        nodes 2
        start
        wait 5s
        deploy web 2 app:v1
        budget web 2
        wait 10s
        drain n1
        wait 30s
        pods
        keep n1
        wait 10s
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
    > deploy web 2 app:v1
          5.000 push c0000001 "web"
    > budget web 2
          5.000 push c0000002 "budget"
    > wait 10s
          5.010 service web leads to nobody
          5.010 audit planned: 3 objects in shop: rolling out (3 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n2 run web-4570d6-5bn7m
          5.216 service web leads to web-4570d6-5bn7m
          5.217 service web leads to web-4570d6-5bn7m, web-4570d6-svkrb
          5.217 audit converged: 3 objects in shop: 3 created
    > drain n1
         15.000 push c0000003 "drain n1"
    > wait 30s
         15.010 audit converged: n1: created Node
         15.010 n2 run web-4570d6-9fj6l
         15.213 service web leads to web-4570d6-5bn7m, web-4570d6-9fj6l
         17.265 n1 stop web-4570d6-svkrb: Drained
         25.213 audit converged: shop/web: web-4570d6-svkrb leaves n1, which is being drained
    > pods
      Deployment shop/web: 2/2 ready, 2 updated, Done
      web-4570d6-5bn7m on n2: Running, ready true
      web-4570d6-9fj6l on n2: Running, ready true
      problem: unit web: PodDisruptionBudget shop/web never allows a disruption
    > keep n1
         45.000 push c0000004 "keep n1"
    > wait 10s
         45.010 audit converged: n1: deleted Node
    "#);
}

#[test]
fn what_cannot_leave_a_drained_node_says_why_and_goes_on_serving() {
    let script = "
        nodes 1
        start
        wait 5s
        deploy web 1 app:v1
        set db 1 app:v1
        wait 10s
        drain n1
        wait 30s
        pods
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
    > deploy web 1 app:v1
          5.000 push c0000001 "web"
    > set db 1 app:v1
          5.000 push c0000002 "db"
    > wait 10s
          5.010 service db leads to nobody
          5.010 service web leads to nobody
          5.010 audit planned: 4 objects in shop: rolling out (4 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n1 run db-0
          5.214 service db leads to nobody
          5.214 service web leads to web-4570d6-svkrb
          5.214 audit converged: 4 objects in shop: 4 created
    > drain n1
         15.000 push c0000003 "drain n1"
    > wait 30s
         15.010 audit converged: n1: created Node
    > pods
      Deployment shop/web: 1/1 ready, 1 updated, Done
      StatefulSet shop/db: 1/1 ready, 1 updated, Done
      web-4570d6-svkrb on n1: Running, ready true
      db-0 on n1: Running, ready true
      problem: unit db: without effect here: spec.volumeClaimTemplates[0].spec.resources
      problem: node n1: drain of n1 waits: no other node can take a pod of shop/web: 0/1 nodes fit: unschedulable on 1
      problem: node n1: drain of n1 waits: the data of shop/db is on its disk, so it stays
    "#);
}

#[test]
fn a_host_that_announced_its_absence_is_waited_for() {
    let script = "
        nodes 2
        start
        wait 5s
        deploy web 2 app:v1
        wait 10s
        leave n2 300s
        wait 2s
        lose n2
        wait 120s
        pods
        wait 200s
        pods
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
    > deploy web 2 app:v1
          5.000 push c0000001 "web"
    > wait 10s
          5.010 service web leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n2 run web-4570d6-5bn7m
          5.216 service web leads to web-4570d6-5bn7m
          5.217 service web leads to web-4570d6-5bn7m, web-4570d6-svkrb
          5.217 audit converged: 2 objects in shop: 2 created
    > leave n2 300s
         15.000 n2 says that it may be away for 300 s
    > wait 2s
    > lose n2
         17.000 agent n2 crashes
         17.000 n2 is lost for good
    > wait 120s
         17.005 service web leads to web-4570d6-svkrb
    > pods
      Deployment shop/web: 1/2 ready, 2 updated, Waiting(Availability { missing: 1 })
      web-4570d6-svkrb on n1: Running, ready true
      web-4570d6-5bn7m on n2: Running, ready true
      problem: node n2: away for 179 s, as it announced; it is waited for
    > wait 200s
        315.005 n1 run web-4570d6-9fj6l
        315.210 service web leads to web-4570d6-9fj6l, web-4570d6-svkrb
        325.005 audit converged: shop/web: 1 pods on n2 are lost and replaced elsewhere
    > pods
      Deployment shop/web: 2/2 ready, 3 updated, Done
      web-4570d6-svkrb on n1: Running, ready true
      web-4570d6-5bn7m on n2: Running, ready true
      web-4570d6-9fj6l on n1: Running, ready true
      problem: node n2: lost: its pods are replaced elsewhere
    "#);
}

#[test]
fn a_host_that_reboots_while_the_controller_is_away_starts_its_pods_from_its_ledger() {
    let script = "
        nodes 1
        start
        wait 5s
        deploy web 2 app:v1
        wait 10s
        crash controller
        reboot n1
        wait 30s
        pods
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
    > deploy web 2 app:v1
          5.000 push c0000001 "web"
    > wait 10s
          5.010 service web leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n1 run web-4570d6-5bn7m
          5.216 service web leads to web-4570d6-5bn7m, web-4570d6-svkrb
          5.216 audit converged: 2 objects in shop: 2 created
    > crash controller
         15.000 controller crashes
    > reboot n1
         15.000 agent n1 crashes
         15.000 n1 reboots
    > wait 30s
         17.000 controller starts, epoch 2
         20.000 agent n1 starts
         21.280 service web leads to web-4570d6-5bn7m, web-4570d6-svkrb
    > pods
      Deployment shop/web: 2/2 ready, 2 updated, Done
      web-4570d6-svkrb on n1: Running, ready true, restarts 1
      web-4570d6-5bn7m on n1: Running, ready true, restarts 1
    "#);
}

#[test]
fn a_full_disk_keeps_new_pods_away_and_what_runs_there_stays() {
    let script = "
        nodes 2
        start
        wait 5s
        fill n2
        deploy web 2 app:v1
        wait 10s
        deploy web 4 app:v1
        wait 20s
        pods
        empty n2
        wait 20s
        deploy web 6 app:v1
        wait 10s
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
    > fill n2
          5.000 the disk of n2 is full
    > deploy web 2 app:v1
          5.000 push c0000001 "web"
    > wait 10s
          5.010 service web leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n2 run web-4570d6-5bn7m
          5.216 service web leads to web-4570d6-svkrb
          5.217 service web leads to web-4570d6-5bn7m, web-4570d6-svkrb
          5.217 audit converged: 2 objects in shop: 2 created
    > deploy web 4 app:v1
         15.000 push c0000002 "web"
    > wait 20s
         15.010 audit planned: shop/web: scaling 2 → 4 pods
         15.010 n1 run web-4570d6-thjkr
         15.010 n1 run web-4570d6-9fj6l
         15.216 service web leads to web-4570d6-5bn7m, web-4570d6-9fj6l, web-4570d6-svkrb, web-4570d6-thjkr
         15.216 audit converged: shop/web: scaled 2 → 4 pods
    > pods
      Deployment shop/web: 4/4 ready, 4 updated, Done
      web-4570d6-svkrb on n1: Running, ready true
      web-4570d6-5bn7m on n2: Running, ready true
      web-4570d6-thjkr on n1: Running, ready true
      web-4570d6-9fj6l on n1: Running, ready true
      problem: node n2: no new pods go there: the ledger cannot be written: no space left on device
    > empty n2
         35.000 the disk of n2 has room again
    > wait 20s
    > deploy web 6 app:v1
         55.000 push c0000003 "web"
    > wait 10s
         55.010 audit planned: shop/web: scaling 4 → 6 pods
         55.010 n2 run web-4570d6-cwbbx
         55.010 n2 run web-4570d6-ksdlg
         55.213 service web leads to web-4570d6-5bn7m, web-4570d6-9fj6l, web-4570d6-cwbbx, web-4570d6-ksdlg, web-4570d6-svkrb, web-4570d6-thjkr
         55.213 audit converged: shop/web: scaled 4 → 6 pods
    "#);
}

#[test]
fn another_host_that_takes_the_name_of_a_lost_one_gets_its_pods() {
    let script = "
        nodes 3
        start
        wait 5s
        set db 3 app:v1
        wait 20s
        lose n2
        wait 90s
        pods
        replace n2
        wait 30s
        pods
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
          0.000 agent n3 starts
    > set db 3 app:v1
          5.000 push c0000001 "db"
    > wait 20s
          5.010 service db leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run db-0
          5.216 service db leads to nobody
          5.216 n2 run db-1
          5.421 service db leads to nobody
          5.421 n3 run db-2
          5.630 service db leads to nobody
          5.630 audit converged: 2 objects in shop: 2 created
    > lose n2
         25.000 agent n2 crashes
         25.000 n2 is lost for good
    > wait 90s
         34.233 service db leads to nobody
    > pods
      StatefulSet shop/db: 2/3 ready, 3 updated, Waiting(Node(NodeName("n2")))
      db-1 on n2: Running, ready true
      db-0 on n1: Running, ready true
      db-2 on n3: Running, ready true
      problem: unit db: without effect here: spec.volumeClaimTemplates[0].spec.resources
      problem: node n2: lost: its pods are replaced elsewhere
    > replace n2
        115.000 another host takes the name n2
    > wait 30s
        115.000 agent n2 starts
        115.656 n2 run db-1
        115.862 service db leads to nobody
        125.656 audit converged: shop/db: pod db-1 was removed on n2 behind our back and is replaced
    > pods
      StatefulSet shop/db: 3/3 ready, 3 updated, Done
      db-0 on n1: Running, ready true
      db-1 on n2: Running, ready true
      db-2 on n3: Running, ready true
      problem: unit db: without effect here: spec.volumeClaimTemplates[0].spec.resources
    "#);
}

#[test]
fn a_pod_with_a_lease_stops_itself_when_it_is_cut_off_and_runs_elsewhere_only_then() {
    let script = "
        nodes 3
        start
        wait 5s
        leased queue 2 app:v1
        wait 10s
        cut n2
        wait 40s
        pods
        wait 30s
        pods
        heal n2
        wait 20s
        pods
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
          0.000 agent n3 starts
    > leased queue 2 app:v1
          5.000 push c0000001 "queue"
    > wait 10s
          5.010 audit planned: shop/queue: rolling out 2 pods, app:v1
          5.010 n1 run queue-0
          5.010 n2 run queue-1
          5.225 audit converged: shop/queue: rolled out 2 pods, app:v1
    > cut n2
         15.000 n2 is cut off
    > wait 40s
         32.630 n2 fake-queue-1-main-0 has stopped: its lease ran out
    > pods
      StatefulSet shop/queue: 1/2 ready, 2 updated, Waiting(Node(NodeName("n2")))
      queue-1 on n2: Running, ready true
      queue-0 on n1: Running, ready true
      problem: node n2: not heard
    > wait 30s
         72.233 n3 run queue-1
         82.233 audit converged: shop/queue: the lease of queue-1 on n2 has run out: it has stopped itself, and is replaced elsewhere
    > pods
      StatefulSet shop/queue: 2/2 ready, 2 updated, Done
      queue-1 on n2: Running, ready true, on its way out: Superseded
      queue-0 on n1: Running, ready true
      queue-1 on n3: Running, ready true
      problem: node n2: lost: its pods are replaced elsewhere
    > heal n2
         85.000 n2 is reachable again
    > wait 20s
         85.419 n2 stop queue-1: Superseded
    > pods
      StatefulSet shop/queue: 2/2 ready, 2 updated, Done
      queue-0 on n1: Running, ready true
      queue-1 on n3: Running, ready true
    "#);
}
