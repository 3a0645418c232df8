// The side panel: tabs beside the chat, a sheet over it on a narrow screen.
import { $, arrows } from './dom.js';

const WIDE = matchMedia('(min-width: 1000px)');
const tabs = () => [...document.querySelectorAll('#panel [role=tab]')];

function select(tab) {
  for (const other of tabs()) {
    const chosen = other === tab;
    other.setAttribute('aria-selected', chosen);
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute('aria-controls')).hidden = !chosen;
  }
}

export function openPanel(name) {
  if (name) select($(`tab-${name}`));
  $('panel').classList.add('open');
  $('toggle-panel').setAttribute('aria-expanded', 'true');
  if (!WIDE.matches) $('close-panel').focus();
}

export function closePanel() {
  $('panel').classList.remove('open');
  $('toggle-panel').setAttribute('aria-expanded', 'false');
  if (!WIDE.matches) $('toggle-panel').focus();
}

export function setUpPanel() {
  for (const tab of tabs()) tab.addEventListener('click', () => select(tab));
  arrows($('panel').querySelector('[role=tablist]'), '[role=tab]', select);
  $('close-panel').addEventListener('click', closePanel);
  $('toggle-panel').addEventListener('click', () => ($('panel').classList.contains('open') ? closePanel() : openPanel()));
  $('panel').addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !WIDE.matches) closePanel();
  });
  select($('tab-look'));
  if (WIDE.matches) openPanel();
}
