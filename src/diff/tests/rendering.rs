//! A plan as text, markdown and JSON.

use super::*;

/// A plan with one of each.
fn varied() -> Plan {
    let long = "listen 80;\nroot /srv;\nindex a.html;\ngzip on;\nlog off;\n";
    let old = World::at("a")
        .config("nginx", &[("nginx.conf", long)])
        .secret("token", "data", &[("t", "x")])
        .web("web:1", 3)
        .runs(Kind::Deployment, "gone", "gone:1", 2, rolling("1", "0"));
    let new = World::at("b")
        .config("nginx", &[("nginx.conf", &long.replace("a.html", "b.html"))])
        .secret("token", "data", &[("t", "y")])
        .web("web:2", 3)
        .config("fresh", &[("A", "1")]);
    plan(&old, &new)
}

#[test]
fn text_reads_like_a_diff() {
    insta::assert_snapshot!(render::text(&varied(), false), @r#"
driftless plan aaaaaaaa → bbbbbbbb

+   create  ConfigMap shop/fresh  (shop/fresh.yaml:1)
    + data:
    +   A: "1"
    effect: no pod uses it

~   update  ConfigMap shop/nginx  (shop/nginx.yaml:1)
    ~ data[nginx.conf]:
        listen 80;
        root /srv;
    -   index a.html;
    +   index b.html;
        gzip on;
        log off;
    effect: replaces the pods of Deployment shop/web

~   update  Secret shop/token  (shop/token.yaml:1)
    ~ data.t: <redacted> (changed)
    effect: replaces the pods of Deployment shop/web

-   delete  Deployment shop/gone  (shop/gone.yaml:1)
    effect: 2 pods stop, and nothing of it runs afterwards [downtime]

-/+ replace Deployment shop/web  (shop/web.yaml:1)
    ~ spec.template.spec.containers[main].image: "web:1" → "web:2"
    effect: ConfigMap nginx and Secret token changed; 3 pods replaced, rolling: one at a time, each new pod ready before an old one stops

Plan: 1 to create, 3 to update (3 pods replaced), 1 to delete, 0 unchanged. digest blake3:d3b22062092bb5d669a33fdbb9834097dc80fdce7710a7aeac0f849aac8a7596
"#);
}

#[test]
fn markdown_suits_a_pull_request() {
    insta::assert_snapshot!(render::markdown(&varied()), @r#"
### Driftless plan `aaaaaaaa → bbbbbbbb`

Plan: 1 to create, 3 to update (3 pods replaced), 1 to delete, 0 unchanged.

Digest `blake3:d3b22062092bb5d669a33fdbb9834097dc80fdce7710a7aeac0f849aac8a7596`

| | object | effect | downtime |
|---|---|---|---|
| `+` create | `ConfigMap shop/fresh` | no pod uses it | no |
| `~` update | `ConfigMap shop/nginx` | replaces the pods of Deployment shop/web | no |
| `~` update | `Secret shop/token` | replaces the pods of Deployment shop/web | no |
| `-` delete | `Deployment shop/gone` | 2 pods stop, and nothing of it runs afterwards | **yes** |
| `-/+` replace | `Deployment shop/web` | ConfigMap nginx and Secret token changed; 3 pods replaced, rolling: one at a time, each new pod ready before an old one stops | no |

<details><summary><code>ConfigMap shop/fresh</code> create (<code>shop/fresh.yaml:1</code>)</summary>

```diff
+ data:
+   A: "1"
```

</details>

<details><summary><code>ConfigMap shop/nginx</code> update (<code>shop/nginx.yaml:1</code>)</summary>

```diff
! data[nginx.conf]:
    listen 80;
    root /srv;
-   index a.html;
+   index b.html;
    gzip on;
    log off;
```

</details>

<details><summary><code>Secret shop/token</code> update (<code>shop/token.yaml:1</code>)</summary>

```diff
! data.t: <redacted> (changed)
```

</details>

<details><summary><code>Deployment shop/web</code> replace (<code>shop/web.yaml:1</code>)</summary>

```diff
! spec.template.spec.containers[main].image: "web:1" → "web:2"
```

</details>
"#);
}

#[test]
fn json_has_a_stable_shape() {
    let plan = plan(&World::at("a").web("web:1", 3), &World::at("b").web("web:2", 3));
    insta::assert_snapshot!(serde_json::to_string_pretty(&render::json(&plan)).expect("JSON"), @r#"
{
  "blocked": null,
  "changes": [
    {
      "action": "replace",
      "effect": {
        "downtime": false,
        "estimate": false,
        "order": "3 pods replaced, rolling: one at a time, each new pod ready before an old one stops",
        "starts": 3,
        "stops": 3
      },
      "fields": [
        {
          "new": "web:2",
          "old": "web:1",
          "path": "spec.template.spec.containers[main].image"
        }
      ],
      "file": "shop/web.yaml",
      "kind": "Deployment",
      "line": 1,
      "name": "web",
      "namespace": "shop",
      "renamedFrom": null,
      "unit": "shop"
    }
  ],
  "digest": "blake3:816826548bfccade7e99d6302d9db0c3de18718f01eb8efdfe29b6990e5a104c",
  "from": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "summary": {
    "create": 0,
    "delete": 0,
    "downtime": false,
    "podsReplaced": 3,
    "unchanged": 0,
    "update": 1
  },
  "to": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
}
"#);
}

#[test]
fn colour_adds_nothing_but_colour() {
    let plan = varied();
    let coloured = render::text(&plan, true);
    assert!(coloured.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), render::text(&plan, false));
}

#[test]
fn a_manifest_cannot_hide_a_line_from_its_reviewer() {
    let old = World::at("a").config("c", &[("A", "1")]);
    let new = World::at("b").config("c", &[("A", "\u{1b}[2K\u{202e}2"), ("B", "```\n</details>\n````\n")]);
    let plan = plan(&old, &new);
    let text = render::text(&plan, false);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    assert!(render::markdown(&plan).contains("`````diff"), "the fence is longer than any in the text");
}
