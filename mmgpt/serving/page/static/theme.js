// Light or dark: what the system says, until somebody chooses. Loaded before the page is drawn.
const root = document.documentElement;
const kept = localStorage.getItem('mmgpt.theme');
if (kept) root.dataset.theme = kept;
addEventListener('DOMContentLoaded', () => {
  document.getElementById('theme').addEventListener('click', () => {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    localStorage.setItem('mmgpt.theme', root.dataset.theme);
  });
});
