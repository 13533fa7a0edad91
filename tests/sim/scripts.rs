//! Stories, as a person who watches would tell them.

use crate::player::play;

#[test]
fn a_rolling_update_replaces_pods_one_by_one_and_each_leaves_its_service_first() {
    let script = "
        nodes 2
        start
        wait 5s
        deploy web 3 app:v1
        wait 10s
        deploy web 3 app:v2
        wait 30s
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
    > deploy web 3 app:v1
          5.000 push c0000001 "web"
    > wait 10s
          5.010 service web leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n1 run web-4570d6-9fj6l
          5.010 n2 run web-4570d6-5bn7m
          5.216 service web leads to web-4570d6-9fj6l, web-4570d6-svkrb
          5.217 service web leads to web-4570d6-5bn7m, web-4570d6-9fj6l, web-4570d6-svkrb
          5.217 audit converged: 2 objects in shop: 2 created
    > deploy web 3 app:v2
         15.000 push c0000002 "web"
    > wait 30s
         15.010 audit planned: shop/web: rolling out 3 pods, app:v1 → v2
         15.010 n2 run web-fda7a3-d57bp
         15.213 service web leads to web-4570d6-9fj6l, web-4570d6-svkrb, web-fda7a3-d57bp
         17.265 n2 stop web-4570d6-5bn7m: Replaced
         17.721 n2 run web-fda7a3-4nqpp
         17.929 service web leads to web-4570d6-svkrb, web-fda7a3-4nqpp, web-fda7a3-d57bp
         19.980 n1 stop web-4570d6-9fj6l: Replaced
         20.437 n1 run web-fda7a3-45lmm
         20.643 service web leads to web-fda7a3-45lmm, web-fda7a3-4nqpp, web-fda7a3-d57bp
         22.693 n1 stop web-4570d6-svkrb: Replaced
         23.151 audit converged: shop/web: rolled out 3 pods, app:v1 → v2
    "#);
}

#[test]
fn a_failed_rollout_keeps_the_old_pods_and_a_revert_heals_it() {
    let script = "
        nodes 1
        start
        wait 5s
        deploy web 3 app:v1
        wait 10s
        deploy web 3 unready:v2
        wait 90s
        pods
        deploy web 3 app:v1
        wait 30s
        pods
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
    > deploy web 3 app:v1
          5.000 push c0000001 "web"
    > wait 10s
          5.010 service web leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n1 run web-4570d6-5bn7m
          5.010 n1 run web-4570d6-9fj6l
          5.216 service web leads to web-4570d6-5bn7m, web-4570d6-9fj6l, web-4570d6-svkrb
          5.216 audit converged: 2 objects in shop: 2 created
    > deploy web 3 unready:v2
         15.000 push c0000002 "web"
    > wait 90s
         15.010 audit planned: shop/web: rolling out 3 pods, app:v1 → unready:v2
         15.010 n1 run web-4ca52f-8hs66
         75.010 audit failed: shop/web: rollout failed, app:v1 → unready:v2
    > pods
      Deployment shop/web: 3/3 ready, 1 updated, Stalled(Deadline("its pods did not become ready"))
      web-4570d6-svkrb on n1: Running, ready true
      web-4ca52f-8hs66 on n1: Running, ready false
      web-4570d6-5bn7m on n1: Running, ready true
      web-4570d6-9fj6l on n1: Running, ready true
      problem: shop/web: no progress within the deadline: its pods did not become ready
    > deploy web 3 app:v1
        105.000 push c0000003 "web"
    > wait 30s
        105.010 audit planned: shop/web: rolling out 3 pods, unready:v2 → app:v1
        105.010 n1 stop web-4ca52f-8hs66: RolledBack
        105.465 audit converged: shop/web: rolled out 3 pods, unready:v2 → app:v1
    > pods
      Deployment shop/web: 3/3 ready, 3 updated, Done
      web-4570d6-svkrb on n1: Running, ready true
      web-4570d6-5bn7m on n1: Running, ready true
      web-4570d6-9fj6l on n1: Running, ready true
    "#);
}

#[test]
fn blue_green_waits_for_its_promotion_and_switches_at_once() {
    let script = "
        nodes 1
        start
        wait 5s
        rollout api 2 app:v1 manual
        wait 10s
        rollout api 2 app:v2 manual
        wait 30s
        pods
        promote api
        wait 30s
        pods
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
    > rollout api 2 app:v1 manual
          5.000 push c0000001 "api"
    > wait 10s
          5.010 service api leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run api-67fa8d-qbf7j
          5.010 n1 run api-67fa8d-5cslk
          5.216 service api leads to api-67fa8d-5cslk, api-67fa8d-qbf7j
          5.216 audit converged: 2 objects in shop: 2 created
    > rollout api 2 app:v2 manual
         15.000 push c0000002 "api"
    > wait 30s
         15.010 audit planned: shop/api: rolling out 2 pods, app:v1 → v2
         15.010 n1 run api-91e76a-bv7dl
         15.010 n1 run api-91e76a-29pss
    > pods
      Rollout shop/api: 4/2 ready, 2 updated, Waiting(Promotion(TemplateHash("91e76ab5627bdcfa8312c22c9e588c7afc1d6c72")))
      api-91e76a-bv7dl on n1: Running, ready true
      api-67fa8d-qbf7j on n1: Running, ready true
      api-91e76a-29pss on n1: Running, ready true
      api-67fa8d-5cslk on n1: Running, ready true
      problem: shop/api: the new set is ready and waits for promotion
    > promote api
         45.000 push c0000003 "promote api"
    > wait 30s
         45.010 audit superseded: shop/api: rolling out 2 pods, app:v1 → v2, superseded
         45.010 service api leads to api-91e76a-29pss, api-91e76a-bv7dl
         45.010 audit planned: shop/api: updating Rollout
         50.010 n1 stop api-67fa8d-qbf7j: Replaced
         50.010 n1 stop api-67fa8d-5cslk: Replaced
         50.465 audit converged: shop/api: updated Rollout
    > pods
      Rollout shop/api: 2/2 ready, 2 updated, Done
      api-91e76a-bv7dl on n1: Running, ready true
      api-91e76a-29pss on n1: Running, ready true
    "#);
}

#[test]
fn what_is_killed_or_deleted_comes_back() {
    let script = "
        nodes 1
        start
        wait 5s
        deploy web 2 app:v1
        wait 10s
        kill n1
        wait 30s
        delete n1
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
    > kill n1
         15.000 shop_web-4570d6-5bn7m_main on n1 is killed
    > wait 30s
         15.003 service web leads to web-4570d6-svkrb
         15.201 service web leads to web-4570d6-5bn7m, web-4570d6-svkrb
    > delete n1
         45.000 shop_web-4570d6-svkrb_main on n1 is deleted by a stranger
    > wait 30s
         45.054 service web leads to web-4570d6-5bn7m
         45.204 service web leads to web-4570d6-5bn7m, web-4570d6-svkrb
    > pods
      Deployment shop/web: 2/2 ready, 2 updated, Done
      web-4570d6-svkrb on n1: Running, ready true, restarts 1
      web-4570d6-5bn7m on n1: Running, ready true, restarts 1
    "#);
}

#[test]
fn a_controller_that_crashes_in_the_middle_of_a_rollout_goes_on_with_it() {
    let script = "
        nodes 2
        start
        wait 5s
        deploy web 3 app:v1
        wait 10s
        deploy web 3 slow:v2
        wait 25s
        crash controller
        wait 90s
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
    > deploy web 3 app:v1
          5.000 push c0000001 "web"
    > wait 10s
          5.010 service web leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n1 run web-4570d6-9fj6l
          5.010 n2 run web-4570d6-5bn7m
          5.216 service web leads to web-4570d6-9fj6l, web-4570d6-svkrb
          5.217 service web leads to web-4570d6-5bn7m, web-4570d6-9fj6l, web-4570d6-svkrb
          5.217 audit converged: 2 objects in shop: 2 created
    > deploy web 3 slow:v2
         15.000 push c0000002 "web"
    > wait 25s
         15.010 audit planned: shop/web: rolling out 3 pods, app:v1 → slow:v2
         15.010 n2 run web-61afcc-bbhgw
         35.066 service web leads to web-4570d6-9fj6l, web-4570d6-svkrb, web-61afcc-bbhgw
         37.113 n2 stop web-4570d6-5bn7m: Replaced
         37.569 n2 run web-61afcc-8vhhk
    > crash controller
         40.000 controller crashes
    > wait 90s
         42.000 controller starts, epoch 2
         42.416 service web leads to web-4570d6-9fj6l, web-4570d6-svkrb, web-61afcc-bbhgw
         57.625 service web leads to web-4570d6-svkrb, web-61afcc-8vhhk, web-61afcc-bbhgw
         59.672 n1 stop web-4570d6-9fj6l: Replaced
         60.106 n1 run web-61afcc-pxc2j
         80.162 service web leads to web-61afcc-8vhhk, web-61afcc-bbhgw, web-61afcc-pxc2j
         82.210 n1 stop web-4570d6-svkrb: Replaced
         82.665 audit converged: shop/web: finished the rollout that was under way
    "#);
}

#[test]
fn an_agent_that_crashes_in_the_middle_of_a_rollout_touches_nothing() {
    let script = "
        nodes 1
        start
        wait 5s
        deploy web 2 app:v1
        wait 10s
        deploy web 2 slow:v2
        wait 22s
        crash agent n1
        wait 60s
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
    > deploy web 2 slow:v2
         15.000 push c0000002 "web"
    > wait 22s
         15.010 audit planned: shop/web: rolling out 2 pods, app:v1 → slow:v2
         15.010 n1 run web-61afcc-bbjvs
         35.069 service web leads to web-4570d6-svkrb, web-61afcc-bbjvs
    > crash agent n1
         37.000 agent n1 crashes
    > wait 60s
         39.000 agent n1 starts
         39.658 n1 stop web-4570d6-5bn7m: Replaced
         40.111 n1 run web-61afcc-8fqp2
         60.167 service web leads to web-61afcc-8fqp2, web-61afcc-bbjvs
         62.217 n1 stop web-4570d6-svkrb: Replaced
         62.673 audit converged: shop/web: rolled out 2 pods, app:v1 → slow:v2
    "#);
}

#[test]
fn a_broken_file_holds_its_unit_while_another_goes_out() {
    let script = "
        nodes 1
        start
        wait 5s
        deploy web 1 app:v1
        deploy api 1 app:v1
        wait 10s
        break web
        wait 10s
        deploy api 1 app:v2
        wait 20s
        pods
        deploy web 1 app:v3
        wait 20s
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
    > deploy web 1 app:v1
          5.000 push c0000001 "web"
    > deploy api 1 app:v1
          5.000 push c0000002 "api"
    > wait 10s
          5.010 service api leads to nobody
          5.010 service web leads to nobody
          5.010 audit planned: 4 objects in shop: rolling out (4 created)
          5.010 n1 run api-67fa8d-k59dl
          5.010 n1 run web-4570d6-kqzwm
          5.214 service api leads to api-67fa8d-k59dl
          5.214 service web leads to web-4570d6-kqzwm
          5.214 audit converged: 4 objects in shop: 4 created
    > break web
         15.000 push c0000003 "broken"
    > wait 10s
         15.010 audit held: unit web held: it has errors
    > deploy api 1 app:v2
         25.000 push c0000004 "api"
    > wait 20s
         25.010 audit planned: shop/api: rolling out 1 pod, app:v1 → v2
         25.010 n1 run api-91e76a-mv6vp
         25.216 service api leads to api-91e76a-mv6vp
         27.266 n1 stop api-67fa8d-k59dl: Replaced
         27.721 audit converged: shop/api: rolled out 1 pod, app:v1 → v2
    > pods
      Deployment shop/api: 1/1 ready, 1 updated, Done
      Deployment shop/web: 1/1 ready, 1 updated, Done
      api-91e76a-mv6vp on n1: Running, ready true
      web-4570d6-kqzwm on n1: Running, ready true
      problem: unit web, held at c0000002: not valid YAML: unclosed bracket '['
    > deploy web 1 app:v3
         45.000 push c0000005 "web"
    > wait 20s
         45.010 audit converged: all units are read again
         45.010 audit planned: shop/web: rolling out 1 pod, app:v1 → v3
         45.010 n1 run web-43a366-xchcs
         45.214 service web leads to web-43a366-xchcs
         47.264 n1 stop web-4570d6-kqzwm: Replaced
         47.721 audit converged: shop/web: rolled out 1 pod, app:v1 → v3
    "#);
}

#[test]
fn deleting_everything_is_held_back_until_a_commit_approves_it() {
    let script = "
        nodes 1
        start
        wait 5s
        deploy web 1 app:v1
        deploy api 1 app:v1
        wait 10s
        remove web api
        wait 30s
        pods
        push clean up|Driftless-Allow-Prune: all
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
    > deploy api 1 app:v1
          5.000 push c0000002 "api"
    > wait 10s
          5.010 service api leads to nobody
          5.010 service web leads to nobody
          5.010 audit planned: 4 objects in shop: rolling out (4 created)
          5.010 n1 run api-67fa8d-k59dl
          5.010 n1 run web-4570d6-kqzwm
          5.214 service api leads to api-67fa8d-k59dl
          5.214 service web leads to web-4570d6-kqzwm
          5.214 audit converged: 4 objects in shop: 4 created
    > remove web api
         15.000 push c0000003 "remove web api"
    > wait 30s
         15.010 audit blocked: deletion of 4 objects held back
    > pods
      Deployment shop/api: 1/1 ready, 1 updated, Done
      Deployment shop/web: 1/1 ready, 1 updated, Done
      api-67fa8d-k59dl on n1: Running, ready true
      web-4570d6-kqzwm on n1: Running, ready true
      problem: prune: deletion of 4 objects held back: Service shop/api, Service shop/web, Deployment shop/api, Deployment shop/web
    > push clean up|Driftless-Allow-Prune: all
         45.000 push c0000004 "clean up"
    > wait 30s
         45.010 service api leads to nobody
         45.010 service web leads to nobody
         45.010 audit planned: 4 objects in shop: deleting
         47.056 n1 stop api-67fa8d-k59dl: Pruned
         47.056 n1 stop web-4570d6-kqzwm: Pruned
         47.508 audit converged: 4 objects in shop: 4 deleted
    > pods
    "#);
}

#[test]
fn a_node_that_is_cut_off_is_replaced_and_gives_its_surplus_back() {
    let script = "
        nodes 2
        start
        wait 5s
        deploy web 4 app:v1
        wait 10s
        cut n2
        wait 90s
        pods
        heal n2
        wait 60s
        pods
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
    > deploy web 4 app:v1
          5.000 push c0000001 "web"
    > wait 10s
          5.010 service web leads to nobody
          5.010 audit planned: 2 objects in shop: rolling out (2 created)
          5.010 n1 run web-4570d6-svkrb
          5.010 n1 run web-4570d6-9fj6l
          5.010 n2 run web-4570d6-5bn7m
          5.010 n2 run web-4570d6-thjkr
          5.216 service web leads to web-4570d6-5bn7m, web-4570d6-thjkr
          5.217 service web leads to web-4570d6-5bn7m, web-4570d6-9fj6l, web-4570d6-svkrb, web-4570d6-thjkr
          5.217 audit converged: 2 objects in shop: 2 created
    > cut n2
         15.000 n2 is cut off
    > wait 90s
         22.234 service web leads to web-4570d6-9fj6l, web-4570d6-svkrb
         72.234 n1 run web-4570d6-cwbbx
         72.234 n1 run web-4570d6-ksdlg
         72.436 service web leads to web-4570d6-9fj6l, web-4570d6-cwbbx, web-4570d6-ksdlg, web-4570d6-svkrb
         82.234 audit converged: shop/web: 2 pods on n2 are lost and replaced elsewhere
    > pods
      Deployment shop/web: 4/4 ready, 6 updated, Done
      web-4570d6-svkrb on n1: Running, ready true
      web-4570d6-5bn7m on n2: Running, ready true
      web-4570d6-cwbbx on n1: Running, ready true
      web-4570d6-thjkr on n2: Running, ready true
      web-4570d6-9fj6l on n1: Running, ready true
      web-4570d6-ksdlg on n1: Running, ready true
      problem: node n2: lost: its pods are replaced elsewhere
    > heal n2
        105.000 n2 is reachable again
    > wait 60s
        105.506 service web leads to web-4570d6-5bn7m, web-4570d6-9fj6l, web-4570d6-svkrb, web-4570d6-thjkr
        107.558 n1 stop web-4570d6-cwbbx: Superseded
        107.558 n1 stop web-4570d6-ksdlg: Superseded
    > pods
      Deployment shop/web: 4/4 ready, 4 updated, Done
      web-4570d6-svkrb on n1: Running, ready true
      web-4570d6-5bn7m on n2: Running, ready true
      web-4570d6-thjkr on n2: Running, ready true
      web-4570d6-9fj6l on n1: Running, ready true
    "#);
}

#[test]
fn a_service_that_was_deleted_while_nobody_was_there_lets_go_of_its_pods_before_they_stop() {
    let script = "
        nodes 2
        start
        wait 5s
        deploy web 2 app:v1
        deploy extra 2 app:v1
        wait 10s
        crash controller
        crash agent n2
        remove extra
        wait 20s
    ";
    insta::assert_snapshot!(play(script), @r#"
    > start
    > wait 5s
          0.000 controller starts, epoch 1
          0.000 agent n1 starts
          0.000 agent n2 starts
    > deploy web 2 app:v1
          5.000 push c0000001 "web"
    > deploy extra 2 app:v1
          5.000 push c0000002 "extra"
    > wait 10s
          5.010 service extra leads to nobody
          5.010 service web leads to nobody
          5.010 audit planned: 4 objects in shop: rolling out (4 created)
          5.010 n1 run web-4570d6-p8vtp
          5.010 n1 run extra-3085c2-hvf84
          5.010 n2 run web-4570d6-mfj59
          5.010 n2 run extra-3085c2-2l6kz
          5.216 service extra leads to extra-3085c2-2l6kz
          5.216 service web leads to web-4570d6-mfj59
          5.218 service extra leads to extra-3085c2-2l6kz, extra-3085c2-hvf84
          5.218 service web leads to web-4570d6-mfj59, web-4570d6-p8vtp
          5.218 audit converged: 4 objects in shop: 4 created
    > crash controller
         15.000 controller crashes
    > crash agent n2
         15.000 agent n2 crashes
    > remove extra
         15.000 push c0000003 "remove extra"
    > wait 20s
         17.000 controller starts, epoch 2
         17.000 agent n2 starts
         17.884 service extra leads to nobody
         17.884 service web leads to web-4570d6-mfj59, web-4570d6-p8vtp
         17.884 audit planned: 2 objects in shop: deleting
         19.932 n1 stop extra-3085c2-hvf84: Pruned
         19.932 n2 stop extra-3085c2-2l6kz: Pruned
         20.389 audit converged: 2 objects in shop: 2 deleted
    "#);
}
