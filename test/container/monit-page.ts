/** Monit's page as a browser without scripts uses it: rows are read, links followed, buttons' forms sent. */
import { DomUtils, parseDocument } from 'htmlparser2';

type Element = ReturnType<typeof DomUtils.getElementsByTagName>[number];

/** A line of the front page. */
export interface ServiceRow {
  /** The heading of its table: Process, Program, Filesystem or System. */
  type: string;
  name: string;
  /** `OK`, or what Monit says instead. */
  status: string;
  /** What a program printed; the empty string for all others. */
  output: string;
  /** Every cell by its column's heading. */
  cells: Record<string, string>;
  /** Where its name leads. */
  link: string;
}

export type Action = 'start' | 'stop' | 'restart' | 'monitor' | 'unmonitor';

export interface MonitPage {
  url: string;
  user: string;
  password: string;
  /** Rejects where nothing answers. */
  rows(): Promise<ServiceRow[]>;
  /** Rejects where there is no such row. */
  row(name: string): Promise<ServiceRow>;
  /** The table of a service's own page, reached by its link on the front page: value by parameter. */
  details(name: string): Promise<Record<string, string>>;
  /** The actions that a service's own page has buttons for. */
  buttons(name: string): Promise<Action[]>;
  /** Presses one of them. */
  press(name: string, action: Action): Promise<void>;
  /** A page's whole HTML. */
  html(path: string): Promise<string>;
}

export function monitPage(url: string, user: string, password: string): MonitPage {
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

  async function get(path: string): Promise<{ document: Element[]; text: string; cookie: string }> {
    const response = await fetch(new URL(path, url), { headers: { authorization } });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
    const cookie = response.headers.get('set-cookie')?.split(';')[0] ?? '';
    return { document: elements('html', parseDocument(text).children), text, cookie };
  }

  const page: MonitPage = {
    url,
    user,
    password,
    async rows() {
      const { document } = await get('/');
      return elements('table', document).flatMap(serviceRows);
    },
    async row(name) {
      const rows = await page.rows();
      const found = rows.find((row) => row.name === name);
      if (!found) throw new Error(`the page has no ${name}, only ${rows.map((row) => row.name).join(', ')}`);
      return found;
    },
    async details(name) {
      const { document } = await get((await page.row(name)).link);
      const table = elements('table', document).find(({ attribs }) => attribs.id === 'status-table');
      const pairs = elements('tr', [table!]).map((row) => elements('td', [row]).map(textOf));
      return Object.fromEntries(pairs.filter(({ length }) => length === 2));
    },
    async buttons(name) {
      const { document } = await get((await page.row(name)).link);
      return forms(document).map((form) => form.fields.action as Action);
    },
    async press(name, action) {
      const { link } = await page.row(name);
      const { document, cookie } = await get(link);
      const form = forms(document).find(({ fields }) => fields.action === action);
      if (!form) throw new Error(`the page of ${name} has no button for ${action}`);
      const response = await fetch(new URL(form.target, new URL(link, url)), {
        method: 'POST',
        headers: { authorization, cookie },
        body: new URLSearchParams(form.fields),
      });
      const answer = await response.text();
      if (!response.ok) throw new Error(`${action} of ${name}: ${response.status} ${answer}`);
    },
    html: async (path) => (await get(path)).text,
  };
  return page;
}

const elements = (tag: string, within: Parameters<typeof DomUtils.getElementsByTagName>[1]): Element[] =>
  DomUtils.getElementsByTagName(tag, within);

const textOf = (element: Element): string => DomUtils.textContent(element).replaceAll('\u00a0', ' ').trim();

/** None where it is another table. */
function serviceRows(table: Element): ServiceRow[] {
  const [headings, ...lines] = elements('tr', [table]);
  const titles = headings ? elements('th', [headings]).map(textOf) : [];
  if (titles[1] !== 'Status') return [];
  return lines.map((line) => {
    const cells = elements('td', [line]);
    const texts = cells.map(textOf);
    const byTitle = Object.fromEntries(titles.map((title, index) => [title, texts[index] ?? '']));
    return {
      type: titles[0] ?? '',
      name: texts[0] ?? '',
      status: byTitle.Status ?? '',
      output: byTitle.Output ?? '',
      cells: byTitle,
      link: elements('a', cells)[0]?.attribs.href ?? '',
    };
  });
}

function forms(document: Element[]): { target: string; fields: Record<string, string> }[] {
  return elements('form', document).map((form) => {
    const inputs = elements('input', [form]).filter(({ attribs }) => attribs.name !== undefined);
    return {
      target: form.attribs.action ?? '',
      fields: Object.fromEntries(inputs.map(({ attribs }) => [attribs.name, attribs.value ?? ''])),
    };
  });
}
