//! What tests of several rooms begin with.

use super::{ContainerLaunch, Labels, Role};
use crate::model::{Kind, NodeName, ObjectKey, PodUid, Revision, RuntimeKind, TemplateHash};
use uuid::Uuid;

/// The labels of the only container of a pod.
pub(crate) fn labels() -> Labels {
    Labels {
        cluster: "prod".to_owned(),
        node: NodeName::new("host-1"),
        uid: PodUid(Uuid::from_u128(7)),
        pod: "web-7d4b9c-x2k9f".to_owned(),
        workload: ObjectKey::new(Kind::Deployment, "shop", "web"),
        slot: 0,
        container: "web".to_owned(),
        hash: TemplateHash::new("7d4b9c"),
        revision: Revision::new("abc"),
        attempt: 0,
        role: Role::Main,
    }
}

/// That container on Docker, of an image and nothing else.
pub(crate) fn launch() -> ContainerLaunch {
    ContainerLaunch { image: Some("nginx:1.27".to_owned()), ..ContainerLaunch::bare(RuntimeKind::Docker, labels()) }
}
