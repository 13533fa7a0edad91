//! `List` and `*List`: documents within a document.

use super::documents::check;

#[test]
fn the_items_of_a_list_are_documents_of_their_own() {
    check(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: Namespace, metadata: {nme: b}}\n",
        "Accepted Namespace/a
         Rejected Namespace/
         5:37: error: items[1].metadata.name is required
         5:48: error: items[1].metadata.nme is not a known field (did you mean name?)",
    );
}

#[test]
fn a_list_of_a_kind_tells_its_items_what_they_are() {
    check(
        "apiVersion: v1\nkind: ConfigMapList\nmetadata: {resourceVersion: '7'}\nitems:\n- metadata: {name: a}\n  data: {k: v}\n- metadata: {name: b}\n  date: {}\n",
        "Accepted ConfigMap/a
         Rejected ConfigMap/b
         8:3: error: items[1].date is not a known field (did you mean data?)",
    );
    check("apiVersion: v1\nkind: List\nmetadata: {}\nitems: []\n", "");
    check("apiVersion: v1\nkind: List\nitems:\n", "");
    check(
        "apiVersion: v1\nkind: List\nitms: []\nitems: 5\n",
        "Rejected List/
         3:1: error: itms is not a known field of a List (did you mean items?)
         4:8: error: items must be a list",
    );
    check(
        "apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: x}\nspec: {}\n",
        "Rejected AllowList/x
         2:7: error: kind AllowList.example.com is not a kind that Driftless knows \
         (to pass it over, list AllowList.example.com in ignoreKinds in driftless.yaml)",
    );
}
