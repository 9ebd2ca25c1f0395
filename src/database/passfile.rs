//! Passwords out of a file, as libpq takes them: `HOST:PORT:DATABASE:USER:PASSWORD` a line, `*` for any.

use std::path::{Path, PathBuf};

/// The file that libpq would look into: the one that is `named`, PGPASSFILE's, or `.pgpass` in the home folder.
pub(super) fn path(named: Option<&str>) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || set("HOME").map(|home| Path::new(&home).join(".pgpass"));
    named.map(PathBuf::from).or_else(|| set("PGPASSFILE").map(PathBuf::from)).or_else(home)
}

/// The password in the file at `path` for `wanted`: host, port, database and user. `None` where it has none, or is not there.
///
/// # Errors
/// When others may read the file, which libpq takes for a mistake too.
pub(super) fn password(path: &Path, wanted: [&str; 4]) -> Result<Option<String>, String> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
    let found = text.lines().find_map(|line| of_line(line, wanted));
    if found.is_some() && is_open(path) {
        let name = path.display();
        return Err(format!(
            "others may read the password file {name}, and it is not used: `chmod 600 {name}`"
        ));
    }
    Ok(found)
}

fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// The password of a line, where it is of `wanted`.
fn of_line(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let (mut fields, mut field, mut characters) = (Vec::new(), String::new(), line.chars());
    while let Some(c) = characters.next() {
        match c {
            '\\' => field.extend(characters.next()),
            ':' if fields.len() < wanted.len() => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    let is = |(found, wanted): (&String, &&str)| found == "*" || found == wanted;
    (fields.len() == wanted.len() && fields.iter().zip(&wanted).all(is)).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_first_line_that_fits_has_the_password_whatever_is_in_it() {
        let wanted = ["db.example", "5432", "bars", "vela"];
        for (line, password) in [
            ("db.example:5432:bars:vela:secret", Some("secret")),
            ("*:*:*:*:a:b", Some("a:b")),
            (r"*:5432:*:vela:p\:\\w", Some(r"p:\w")),
            ("db.example:5433:bars:vela:x", None),
            ("#*:*:*:*:x", None),
            ("*:*:*:x", None),
            ("", None),
        ] {
            assert_eq!(of_line(line, wanted).as_deref(), password, "{line}");
        }
        assert_eq!(of_line(r"\:\:1:*:*:*:x", ["::1", "1", "a", "b"]).as_deref(), Some("x"));
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used_and_one_that_is_not_there_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgpass");
        let wanted = ["h", "1", "d", "u"];
        assert_eq!(password(&file, wanted), Ok(None));
        std::fs::write(&file, "x:1:d:u:no\nh:*:*:u:yes\n").unwrap();
        let allow = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        allow(0o600);
        assert_eq!(password(&file, wanted), Ok(Some("yes".to_owned())));
        allow(0o640);
        let problem = password(&file, wanted).unwrap_err();
        assert!(problem.contains("chmod 600") && !problem.contains("yes"), "{problem}");
        assert_eq!(password(&file, ["other"; 4]), Ok(None), "nothing of it is wanted");
    }
}
