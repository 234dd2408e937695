// Bookmarks of Ray's own dashboard still lead somewhere: all of its addresses stand behind a #, which only a script sees.

const THEIRS = [
  [/^#\/(?:new\/)?jobs(?:\/([^/?]+))?/, "jobs"],
  [/^#\/(?:new\/)?actors(?:\/([^/?]+))?/, "actors"],
  [/^#\/(?:new\/)?(?:cluster\/nodes|node)(?:\/([^/?]+))?/, "nodes"],
  [/^#\/(?:new\/)?cluster/, "nodes"],
];

for (const [pattern, page] of THEIRS) {
  const found = pattern.exec(location.hash);
  const list = found && document.querySelector(`.menu a[data-page="${page}"]`);
  if (!list) continue;
  const target = new URL(list.href);
  if (found[1]) target.pathname += `/${found[1]}`;
  location.replace(target);
  break;
}
