//! Takes out of scripts and style sheets what only their authors read.

/// The text without comments that stand on lines of their own and without indentation. Lines keep
/// their numbers, so that a browser's messages lead to the source. A script in which some text in
/// backquotes runs over several lines stays as it is: every blank may belong to that text.
pub fn slim(text: &str, is_script: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_comment = false;
    for line in text.lines() {
        let line = line.trim();
        if in_comment {
            if let Some((_, code)) = line.split_once("*/") {
                in_comment = false;
                out.push_str(code.trim_start());
            }
        } else if line.starts_with("/*") && !line.contains("*/") {
            in_comment = true;
        } else if !is_comment(line, is_script) {
            if is_script && line.matches('`').count() % 2 == 1 {
                return text.to_owned();
            }
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn is_comment(line: &str, is_script: bool) -> bool {
    let block = line.starts_with("/*") && line.find("*/") == Some(line.len() - 2);
    block || (is_script && line.starts_with("//"))
}
