/** A column of a picture: `label` below it, `text` what it means in words, `href` where it leads. */
export interface Column {
  label: string;
  value: number;
  text: string;
  marked?: boolean;
  href?: string;
}
