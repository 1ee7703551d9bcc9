export { type CachePlan, type MemoryNeeds, type MemorySizes, memoryNeeds } from './needs';
export { type MemoryPlan, type PlanOptions, planMemory } from './plans';
