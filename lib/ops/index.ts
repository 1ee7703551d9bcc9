export * from './attention';
export * from './elementwise';
export * from './embedding';
export * from './gather';
export * from './int8';
export * from './linear';
export * from './norm';
export * from './sampling';
