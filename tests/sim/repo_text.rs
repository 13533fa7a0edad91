//! The manifests that people push in the simulator.

/// A Deployment; its pods take their environment from a ConfigMap if one is named.
pub fn deployment(name: &str, replicas: u64, image: &str, config: &str) -> String {
    let env_from =
        if config.is_empty() { String::new() } else { format!("\n        envFrom: [{{configMapRef: {{name: {config}}}}}]") };
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  replicas: {replicas}
  progressDeadlineSeconds: 60
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: main
        image: {image}
        ports: [{{containerPort: 8080}}]
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}{env_from}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8080}}]
"
    )
}

/// A blue/green Rollout with its Services.
pub fn rollout(name: &str, replicas: u64, image: &str, auto: bool) -> String {
    deployment(name, replicas, image, "")
        .replace("apiVersion: apps/v1\nkind: Deployment", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout")
        .replace("  selector: {matchLabels", &format!("  strategy: {{blueGreen: {{activeService: {name}, autoPromotionEnabled: {auto}, scaleDownDelaySeconds: 5}}}}\n  selector: {{matchLabels"))
}

/// A host, as git has it: cordoned, or with a taint of this effect.
pub fn node(name: &str, cordoned: bool, effect: Option<&str>) -> String {
    let taints = effect.map(|effect| format!("{{key: team, value: other, effect: {effect}}}")).unwrap_or_default();
    format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{unschedulable: {cordoned}, taints: [{taints}]}}\n")
}

/// A host that is to be empty.
pub fn drained(name: &str) -> String {
    format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, annotations: {{driftless.dev/drain: \"true\"}}}}\n")
}

/// A disruption budget of an app's pods: so many stay available.
pub fn budget(name: &str, least: &str) -> String {
    format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{minAvailable: {least}, selector: {{matchLabels: {{app: {name}}}}}}}\n"
    )
}

/// A bare Pod.
pub fn pod(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\nspec:\n  containers: [{{name: main, image: {image}}}]\n"
    )
}

/// A ConfigMap of one key.
pub fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{KEY: {value}}}\n")
}

/// A set whose pods have a claim each, which goes when it shrinks or is deleted, if `goes`.
pub fn stateful(name: &str, replicas: u64, image: &str, parallel: bool, goes: bool) -> String {
    let management = if parallel { "Parallel" } else { "OrderedReady" };
    let retention = if goes { "Delete" } else { "Retain" };
    format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: {name}, namespace: shop}}
spec:
  serviceName: {name}
  replicas: {replicas}
  podManagementPolicy: {management}
  persistentVolumeClaimRetentionPolicy: {{whenScaled: {retention}, whenDeleted: {retention}}}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: main
        image: {image}
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
        volumeMounts: [{{name: data, mountPath: /data}}]
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: None, selector: {{app: {name}}}}}
"
    )
}

/// A set without data, whose pods have a lease of 20 s and a grace of 2 s.
pub fn leased(name: &str, replicas: u64, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {name}
  namespace: shop
  annotations: {{driftless.dev/lease: 20s}}
spec:
  serviceName: {name}
  replicas: {replicas}
  podManagementPolicy: Parallel
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 2
      containers: [{{name: main, image: {image}, readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}}}]
"
    )
}

/// A claim, and a Deployment of one pod that has it.
pub fn keeper(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: shop}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  strategy: {{type: Recreate}}
  progressDeadlineSeconds: 60
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers: [{{name: main, image: {image}, volumeMounts: [{{name: files, mountPath: /files}}]}}]
      volumes: [{{name: files, persistentVolumeClaim: {{claimName: {name}}}}}]
"
    )
}

/// A DaemonSet.
pub fn daemon(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: main, image: {image}}}]}}
"
    )
}

/// A Job whose pods are not restarted by the agent.
pub fn job(name: &str, image: &str, completions: u64, parallelism: u64) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: shop}}
spec:
  completions: {completions}
  parallelism: {parallelism}
  backoffLimit: 3
  template:
    spec: {{restartPolicy: Never, containers: [{{name: main, image: {image}}}]}}
"
    )
}

/// A CronJob that is due every minute, whose Jobs bear with killed pods.
pub fn cron(name: &str, image: &str, suspend: bool) -> String {
    format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: {name}, namespace: shop}}
spec:
  schedule: \"* * * * *\"
  concurrencyPolicy: Forbid
  suspend: {suspend}
  jobTemplate:
    spec:
      backoffLimit: 1000
      template:
        spec: {{restartPolicy: Never, containers: [{{name: main, image: {image}}}]}}
"
    )
}
