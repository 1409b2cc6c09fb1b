//! Reads the source files of a package, and finds which of them use which others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// The path of a module from the root of its package: `["proxy", "tls"]` for the file
/// `src/proxy/tls.rs`.
pub(crate) type Module = Vec<String>;

/// The modules of a package that have their own file, without those that are compiled for tests
/// only.
pub(crate) struct Package {
    files: BTreeMap<Module, File>,
}

struct File {
    path: PathBuf,
    /// The paths that the file names, each from the root of the package.
    used: BTreeSet<Module>,
    /// Names that the file re-exports, each with the path that it stands for, from the root of the
    /// package.
    exported: BTreeMap<String, Module>,
}

impl Package {
    /// Reads the sources of the package that is in this directory of the repository.
    pub(crate) fn read(directory: &str) -> Self {
        let source = crate::root().join(directory).join("src");
        let mut files = BTreeMap::new();
        let mut for_tests = Vec::new();
        for path in rust_files(&source) {
            let relative = path.strip_prefix(&source).expect("below the source");
            let module = module_of(relative);
            let text = fs::read_to_string(&path).expect("a source file");
            let syntax = syn::parse_file(&text)
                .unwrap_or_else(|error| panic!("{} does not parse: {error}", path.display()));
            let mut reader = Reader::new(module.clone());
            reader.visit_file(&syntax);
            for_tests.extend(reader.for_tests);
            let file = File {
                path: path
                    .strip_prefix(crate::root())
                    .expect("below the root")
                    .to_owned(),
                used: reader.used,
                exported: reader.exported,
            };
            files.insert(module, file);
        }
        files.retain(|module, _| !for_tests.iter().any(|test| module.starts_with(test)));
        Self { files }
    }

    /// Returns the path of a module's file, relative to the root of the repository.
    pub(crate) fn path(&self, module: &Module) -> &Path {
        &self.files[module].path
    }

    /// Returns for each module the modules that it uses: those that define the names that it
    /// writes.
    pub(crate) fn uses(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let uses = self.files.iter().map(|(module, file)| {
            let used = file.used.iter().map(|path| self.defines(path, 0));
            (module, used.filter(|used| used != module).collect())
        });
        uses.collect()
    }

    /// Returns the module that defines the item that a path names, after following re-exports.
    fn defines(&self, path: &[String], depth: usize) -> Module {
        const MOST_RE_EXPORTS: usize = 8;
        let length = (0..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))
            .unwrap_or(0);
        let (module, rest) = path.split_at(length);
        let exported = rest.first().and_then(|name| {
            let file = self.files.get(module)?;
            file.exported.get(name)
        });
        match exported {
            Some(target) if depth < MOST_RE_EXPORTS => self.defines(target, depth + 1),
            _ => module.to_vec(),
        }
    }
}

/// Reads one source file: collects the paths that the file uses and re-exports.
struct Reader {
    /// Path of the module that is being read; inside an inline `mod`, the path of that inline
    /// module.
    module: Module,
    used: BTreeSet<Module>,
    exported: BTreeMap<String, Module>,
    /// Modules with a file of their own that this file declares for tests only.
    for_tests: Vec<Module>,
}

impl Reader {
    fn new(module: Module) -> Self {
        Self {
            module,
            used: BTreeSet::new(),
            exported: BTreeMap::new(),
            for_tests: Vec::new(),
        }
    }

    /// Converts a path as it is written in the module to a path from the root of the package;
    /// `None` if it leads to another package.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let mut rest = path;
        let mut base = match rest.first()?.as_str() {
            "crate" => Module::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        if matches!(rest[0].as_str(), "crate" | "self") {
            rest = &rest[1..];
        }
        while rest.first().is_some_and(|segment| segment == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    fn use_tree(&mut self, prefix: &[String], tree: &UseTree, is_export: bool) {
        let mut path = prefix.to_vec();
        match tree {
            UseTree::Path(one) => {
                path.push(one.ident.to_string());
                self.use_tree(&path, &one.tree, is_export);
            }
            UseTree::Group(group) => {
                for one in &group.items {
                    self.use_tree(prefix, one, is_export);
                }
            }
            UseTree::Name(name) if name.ident == "self" => self.names(&path, None),
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.names(&path, is_export.then(|| name.ident.to_string()));
            }
            UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.names(&path, is_export.then(|| name.rename.to_string()));
            }
            UseTree::Glob(_) => self.names(&path, None),
        }
    }

    fn names(&mut self, path: &[String], exported_as: Option<String>) {
        // A path without `crate` or `self` that begins with a module declared in this file leads
        // into this package, too.
        let local: Module = [&["self".to_owned()], path].concat();
        let absolute = self.absolute(path).or_else(|| self.absolute(&local));
        let Some(absolute) = absolute else { return };
        match exported_as {
            Some(name) => {
                self.exported.insert(name, absolute);
            }
            None => {
                self.used.insert(absolute);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_export = !matches!(item.vis, Visibility::Inherited);
        self.use_tree(&[], &item.tree, is_export);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        if let Some(absolute) = self.absolute(&segments.collect::<Vec<_>>()) {
            self.used.insert(absolute);
        }
        visit::visit_path(self, path);
    }

    fn visit_file(&mut self, file: &'ast syn::File) {
        for item in &file.items {
            if let Item::Mod(item) = item
                && item.content.is_none()
                && is_for_tests(&item.attrs)
            {
                let mut module = self.module.clone();
                module.push(item.ident.to_string());
                self.for_tests.push(module);
            }
        }
        visit::visit_file(self, file);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns whether an item has the attribute `#[cfg(test)]`, alone or among other conditions.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = || {
            let tokens = attribute
                .meta
                .require_list()
                .map(|list| list.tokens.to_string());
            tokens.is_ok_and(|tokens| tokens == "test" || tokens.starts_with("all (test"))
        };
        attribute.path().is_ident("cfg") && is_test()
    })
}

fn module_of(relative: &Path) -> Module {
    let mut module: Module = relative
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    module
}

/// Returns the paths of all Rust files below a directory.
pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
