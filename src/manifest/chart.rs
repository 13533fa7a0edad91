//! What a `Chart.yaml` says that matters before helm reads it.

use super::yaml;

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chart {
    /// Its name, with which helm begins the paths of its templates.
    pub name: String,
    /// It holds definitions for other charts and renders to nothing.
    pub is_library: bool,
}

/// Reads a chart's own file. What is wrong with it is for helm to say.
#[must_use]
pub fn read_chart(bytes: &[u8]) -> Chart {
    let (documents, _) = yaml::read(&String::from_utf8_lossy(bytes), 1);
    let Some(root) = documents.first().map(|document| &document.root) else { return Chart::default() };
    let name = root.text("name").unwrap_or_default().to_owned();
    Chart { name, is_library: root.text("type") == Some("library") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_name_and_may_be_a_library() {
        let chart = read_chart(b"apiVersion: v2\nname: web\ntype: library\nversion: 1.0.0\n");
        assert_eq!(chart, Chart { name: "web".to_owned(), is_library: true });
        assert_eq!(read_chart(b": ["), Chart::default());
    }
}
